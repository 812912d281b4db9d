#!/usr/bin/perl
# Two schedulers and two workers whose clocks are twenty minutes apart, and are set forward and
# back while they work: what waits is done, nothing is done twice, and a night fires once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;

my $chaos = Chaos->new(sim => ['--companies', 60, '--list-members', 50, '--contacts', 60,
    '--customers', 40]);
my $rig = $chaos->rig;
my @stepping = qw(scheduler scheduler-2 worker worker-2);

sub set_clocks {
    my (%offset_s) = @_;
    for my $name (sort keys %offset_s) {
        open my $f, '>', "$rig->{dir}/$name.clock.new" or die "clock of $name: $!";
        print {$f} $offset_s{$name};
        close $f;
        rename "$rig->{dir}/$name.clock.new", "$rig->{dir}/$name.clock" or die "rename: $!";
    }
    return;
}

push @{$chaos->{programs}}, 'scheduler-2';
set_clocks(scheduler => 600, 'scheduler-2' => -600, worker => 600, 'worker-2' => -600);
for my $name (@stepping) {
    $rig->stop($name) if $rig->pid($name);
    Psync::below('clock', {CLOCK_OFFSET_FILE => "$rig->{dir}/$name.clock"},
        sub { $rig->start($name) });
}
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
my $fetch = $rig->value('select max(fetch_no) from psync.record_seen');

# ---- work, while they step ----
$rig->fault(provider => 'stripe', regex => '/v1/customers/', status => 503, times => 2);
my @steps = ({scheduler => -600, worker => -600}, {'scheduler-2' => 600, 'worker-2' => 600},
    {scheduler => 600, worker => 0}, {'scheduler-2' => -600, 'worker-2' => -600});
for my $round (1 .. (Chaos::long_form() ? 12 : 4)) {
    my $provider = $round % 2 ? 'hubspot' : 'stripe';
    my $hold = $rig->fault(provider => $provider, times => 1, until_released => JSON::PP::true);
    $rig->cmd('run-now', $provider);
    $chaos->change(10);
    wait_for("round $round: $provider is being asked", 20, sub { $rig->held($hold) >= 1 });
    set_clocks(%{$steps[$round % @steps]});
    $chaos->change(10);
    $rig->sim(DELETE => "faults/$hold");
}
wait_for('the full syncs end', 60, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
my $c = $chaos->converges('clocks that step', 60);
$chaos->logged($fetch);
cmp_ok $rig->value("select count(*) from psync.attempt where attempt_id > $from"
    . ' and abs(extract(epoch from finished_at - started_at)) > 500'), '>', 0,
    'the clocks of the workers were off';
is $rig->value("select count(*) from psync.run where status in ('failed', 'cancelled')"), 0,
    'no run failed';
unlike join('', map { $rig->log_text($_) } @stepping), qr/leases ran out/,
    'no lease was lost, so nothing was done twice';

# ---- a night, with one scheduler ten minutes late and one ten minutes early ----
$rig->value("update psync.workspace set tz = 'UTC',
    nightly_at = ((now() - interval '20 minutes') at time zone 'UTC')::time");
$rig->value("update psync.connection set created_at = now() - interval '10 days',
    next_full_at = null");
my $nightly = "from psync.run where trigger = 'nightly'";
wait_for('the night is due', 30, sub { $rig->value("select count(*) $nightly") >= 2 });
set_clocks(scheduler => -600, 'scheduler-2' => 600);
$rig->value('update psync.connection set next_full_at = null');
wait_for('both have looked again', 30, sub {
    $rig->value('select count(*) from psync.connection where next_full_at is null') == 0;
});
wait_for('its runs end', 60, sub {
    $rig->value("select count(*) $nightly and status = 'succeeded'") == 2;
});
is $rig->value("select count(*) $nightly"), 2, 'one run for each connection';
is $rig->value("select count(*) from psync.occurrence where kind = 'nightly'"), 2,
    'and one occurrence';
my $last = $chaos->converges('the night', 60);
is $rig->stop($_), 0, "$_ ends with 0" for @stepping;
Chaos::report($last);
done_testing;
