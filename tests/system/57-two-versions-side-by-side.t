#!/usr/bin/perl
# A rolling upgrade: the programs of an earlier version and those of this one work on one Redis and
# one PostgreSQL, forward and back again, under load. PREVIOUS_BIN names the older programs; without
# it tests/tools/previous-version says which they are, and builds them. The long form upgrades once
# more.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;

my $new = Psync::bin();
my $old = $ENV{PREVIOUS_BIN};
if (!$old) {
    my ($code, $out, $err) = Psync::run_argv(undef, undef, Psync::root() . '/tests/tools/previous-version');
    chomp(my $why = $err);
    plan skip_all => "no earlier version: $why" if $code != 0;
    chomp($old = $out);
}
note("the earlier version: $old");

sub with_old {
    my ($sub) = @_;
    local $ENV{BIN} = $old;
    return $sub->();
}

# The older version runs, and has work.
my $chaos = with_old(sub { Chaos->new(sim => ['--companies', 80, '--list-members', 60,
    '--contacts', 80, '--customers', 40]) });
my $rig = $chaos->rig;
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 60, times => -1}) for qw(hubspot stripe);
$chaos->change(8);

# The newer one's steps of the schema come first, while the older one works.
my $steps = 'select count(*) from psync.migration';
my $before = $rig->value($steps);
$rig->must('migrate');
note(sprintf 'steps of the schema: %d, then %d', $before, $rig->value($steps));
$chaos->change(8);
my $c;
my @ways = (['upgraded', sub { $_[0]->() }], ['and back', \&with_old]);
push @ways, ['upgraded again', sub { $_[0]->() }] if Chaos::long_form();
for my $way (@ways) {
    my ($what, $by) = @$way;
    with_old(sub { $rig->cmd('run-now', 'hubspot') });
    $rig->cmd('run-now', 'stripe');
    for my $name (@{$chaos->{programs}}) {
        $chaos->change(6);
        is($rig->stop($name, 'TERM'), 0, "$what: $name ends") or diag($rig->log_text($name));
        $chaos->change(2);
        $by->(sub { $chaos->armed(sub { $rig->start($name) }) });
        $chaos->change(6);
    }
    $c = $chaos->converges($what, 60);
}
wait_for('the full syncs go on to their end', 60, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled', 'partial')"),
    0, 'and are whole');
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and (status in"
    . " ('failed', 'retrying', 'interrupted') or attempt_no > 1)"), 0,
    'no attempt counts as failed')
    or diag($rig->value('select status, error_code, error_message, count(*) from psync.attempt'
        . " where attempt_id > $from group by 1, 2, 3"));
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing needs a person');
note(sprintf 'two versions side by side: lost %d, wrong %d, of %d', @$c{qw(lost wrong of)});
Chaos::report($c);
done_testing;
