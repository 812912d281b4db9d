#!/usr/bin/perl
# Two Redis servers: shards are moved from one to the other and back while deliveries come and a
# full sync runs. No program is restarted, nothing is refused, lost or done twice.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(time);

my $rounds = Chaos::long_form() ? 20 : 4;
my $chaos = Chaos->new(settings => {QUEUE_SHARDS => 4}, sim => ['--companies', 150,
    '--list-members', 120, '--contacts', 150, '--customers', 60]);
my $rig = $chaos->rig;
my $second = $rig->another_redis('redis-2');
my @shards = split /\n/, $rig->value('select distinct shard from psync.connection');
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 30, times => -1}) for qw(hubspot stripe);
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');

my ($moves, $longest, $keys, $failed) = (0, 0, 0, 0);
for my $round (1 .. $rounds) {
    my $to = $round % 2 ? $second->{url} : $rig->{redis_url};
    $rig->cmd('run-now', $round % 2 ? 'hubspot' : 'stripe');
    for my $shard (@shards) {
        $chaos->change(12);
        my ($code, $out, $err) = $rig->cmd('queue', 'move-shard', $shard, $to);
        $failed++ if $code != 0;
        diag($err) if $code != 0;
        my ($n, $ms) = "$out$err" =~ /(\d+) keys.*still for (\d+) ms/;
        $moves++;
        $keys += $n // 0;
        $longest = $ms if ($ms // 0) > $longest;
        $chaos->change(6);
    }
}
is($failed, 0, "$moves moves of shards, $keys keys");
my $c = $chaos->converges("$moves moves", 60);
wait_for('the full syncs go on to their end', 40, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled', 'partial')"),
    0, 'and are whole');
my $log = $rig->sim(GET => 'webhooks/log');
my @refused = grep { $_->{status} !~ /^2/ } @{$log->{attempts}};
is(scalar(@refused), 0, 'every delivery of ' . @{$log->{attempts}} . ' was taken at once');
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and (status in"
    . " ('failed', 'retrying', 'interrupted') or attempt_no > 1)"), 0, 'nothing was done twice')
    or diag($rig->value('select status, error_code, error_message, count(*) from psync.attempt'
        . " where attempt_id > $from group by 1, 2, 3"));
unlike(join('', map { $rig->log_text($_) } @{$chaos->{programs}}), qr/leases ran out/,
    'no lease was lost');
note(sprintf '%d moves: lost %d, wrong %d, done twice 0; a shard stood still for %d ms at most',
    $moves, @$c{qw(lost wrong)}, $longest);

# ---- one of the two dies: the other's connections go on ----
my ($stripe) = split /\n/,
    $rig->value("select shard from psync.connection where provider = 'stripe'");
$rig->must('queue', 'move-shard', $stripe, $second->{url});
isnt $rig->value("select count(*) from psync_bi.audit_trail where action = 'queue.move-shard'"), 0,
    'who moved a shard stands in the audit';
Psync::end_pid($second->{pid}, 'KILL', 5);
$chaos->change(8);
if ($rig->value("select shard from psync.connection where provider = 'hubspot'") != $stripe) {
    my $id = $chaos->pick('companies');
    $rig->sim_hubspot(PATCH => "companies/$id", {properties => {name => 'While one is away'}});
    wait_for('what is on the other goes on', 20, sub {
        $rig->value("select count(*) from psync.record where record_id = '$id'"
            . " and raw::text like '%While one is away%'");
    });
}
my $back = time;
$rig->another_redis('redis-2');
$c = $chaos->converges('one of two killed', 60);
note(sprintf 'time to recover after a kill of one of two: %.1f s', time - $back);
Chaos::report($c);
done_testing;
