#!/usr/bin/perl
# A deploy: worker, scheduler and gateway are ended by SIGTERM and started again while deliveries
# come and a full sync runs. Nothing counts as failed, nobody is refused, nothing is repeated for
# want of a lease.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use HTTP::Tiny;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = Chaos::long_form() ? 30 : 10;
my $chaos = Chaos->new(sim => ['--companies', 150, '--list-members', 120, '--contacts', 150,
    '--customers', 60]);
my $rig = $chaos->rig;
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 60, times => -1}) for qw(hubspot stripe);
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');

# A stranger that knocks all the time, each time anew.
pipe my $said, my $say or die "pipe: $!";
my $knocker = fork // die "fork: $!";
if ($knocker == 0) {
    my $http = HTTP::Tiny->new(timeout => 30, keep_alive => 0);
    my ($ok, $refused, $end) = (0, 0, 0);
    local $SIG{TERM} = sub { $end = 1 };
    while (!$end) {
        $http->get($rig->gateway . '/livez')->{status} == 200 ? $ok++ : $refused++;
        sleep 0.005;    # the pace of the knocking
    }
    syswrite $say, "$ok $refused\n";
    POSIX::_exit(0);
}
close $say;

my ($worst, $bad_exits, $late) = (0, 0, 0);
for my $round (1 .. $rounds) {
    $rig->cmd('run-now', $round % 2 ? 'hubspot' : 'stripe');
    $chaos->change(12);
    for my $name (@{$chaos->{programs}}) {
        $chaos->change(2);
        my $began = time;
        my $status = $rig->stop($name, 'TERM');
        $worst = time - $began if time - $began > $worst;
        $bad_exits++ if !defined $status || $status != 0;
        $rig->start($name);
    }
}
kill 'TERM', $knocker;
my ($ok, $refused) = split ' ', <$said> // '';
waitpid $knocker, 0;
my $programs = $rounds * @{$chaos->{programs}};
is($bad_exits, 0, "each of $programs programs ended with 0");
cmp_ok($worst, '<', 25, sprintf 'the slowest within %.1f s', $worst);
cmp_ok($ok, '>', 100, "the gateway answered $ok times meanwhile");
is($refused, 0, 'and refused nobody');
my $log = $rig->sim(GET => 'webhooks/log');
my @unanswered = grep { $_->{status} == 0 } @{$log->{attempts}};
is(scalar(@unanswered), 0, 'every delivery of ' . @{$log->{attempts}} . ' was answered');
my $c = $chaos->converges("$rounds deploys", 60);
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and (status in"
    . " ('failed', 'retrying', 'interrupted') or attempt_no > 1)"), 0,
    'no attempt counts as failed')
    or diag($rig->value('select status, error_code, error_message, count(*) from psync.attempt'
        . " where attempt_id > $from group by 1, 2, 3"));
unlike(join('', map { $rig->log_text($_) } @{$chaos->{programs}}), qr/leases ran out/,
    'no lease was lost');
wait_for('the full syncs go on to their end', 40, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled')"), 0,
    'none of them failed');

# ---- who cannot wait says it twice ----
wait_for('nothing is left to do', 40, sub { $rig->idle });
my @workers = grep { /^worker/ } @{$chaos->{programs}};
$rig->stop($_) for @workers[1 .. $#workers];
my $customer = $chaos->pick('customers');
$rig->sim(DELETE => 'faults');
my $hold = $rig->fault(provider => 'stripe', contains => $customer, until_released => JSON::PP::true);
$rig->sim_stripe(PATCH => "customers/$customer", {name => 'Changed while it ended'});
wait_for('a worker waits for an answer', 20, sub { $rig->held($hold) });
my $pid = $rig->pid('worker');
my $told = length $rig->log_text('worker');
kill 'TERM', $pid;
wait_for('told to end, it finishes what it does', 20,
    sub { substr($rig->log_text('worker'), $told) =~ /ending: 1 jobs? in flight/ });
ok($rig->running('worker'), 'and goes on for that');
kill 'TERM', $pid;
my $asked = time;
wait_for('told again, it ends at once', 20, sub { !$rig->running('worker') });
cmp_ok(time - $asked, '<', 15, sprintf 'after %.1f s, without the answer', time - $asked);
$rig->sim(DELETE => "faults/$hold");
$c = $chaos->converges('a second signal', 60);
Chaos::report($c);
done_testing;
