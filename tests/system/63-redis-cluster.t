#!/usr/bin/perl
# A Redis Cluster of three primaries: the slots of shards are moved under load, and a node is lost
# and comes back. The programs go where the cluster sends them; nothing is lost or done twice.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Redises;
use Test::More;
use Time::HiRes qw(time);

my $rounds = Chaos::long_form() ? 10 : 2;
my $redises = Redises->new;
my $url = $redises->with_cluster;
my $chaos = Chaos->new(settings => {REDIS_URL => $url, QUEUE_SHARDS => 6}, workers => 1,
    sim => ['--companies', 100, '--list-members', 80, '--contacts', 100, '--customers', 40]);
my $rig = $chaos->rig;
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 30, times => -1}) for qw(hubspot stripe);
my @shards = split /\n/, $rig->value('select distinct shard from psync.connection');
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');

# ---- a slot is moved ----
my ($moves, $keys) = (0, 0);
for my $round (1 .. $rounds) {
    $rig->cmd('run-now', $_) for qw(hubspot stripe);
    for my $shard (@shards) {
        my $key = "{ps$shard}:";
        my $owner = $redises->owner($key);
        my ($to) = grep { $_ ne $owner } $round % 2 ? qw(n1 n2 n3) : qw(n3 n2 n1);
        $chaos->change(10);
        $keys += $redises->move_slot($key, $to);
        $moves++;
        is($redises->owner($key), $to, "shard $shard: $owner to $to");
        $chaos->change(6);
    }
}
my $c = $chaos->converges("$moves slots moved", 60);
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and (attempt_no > 1 or"
    . " status in ('failed', 'retrying') or (status = 'interrupted' and error_code <>"
    . " 'queue_unavailable'))"), 0, 'nothing was done twice')
    or diag($rig->value('select status, error_code, error_message, count(*) from psync.attempt'
        . " where attempt_id > $from group by 1, 2, 3"));
my @refused = grep { $_->{status} !~ /^2/ } @{$rig->sim(GET => 'webhooks/log')->{attempts}};
is(scalar(@refused), 0, 'every delivery was taken at once');
note(sprintf '%d slots, %d keys moved: lost %d, wrong %d, done twice 0', $moves, $keys,
    @$c{qw(lost wrong)});

# ---- a node is lost ----
my $victim = $redises->owner("{ps$shards[0]}:");
$rig->cmd('run-now', $_) for qw(hubspot stripe);
$redises->kill_server($victim);
my $killed = time;
$chaos->change(12);
wait_for('the others know', 20, sub {
    my ($other) = grep { $_ ne $victim } qw(n1 n2 n3);
    $redises->ask($other, 'cluster', 'nodes') =~ /fail /;
});
$chaos->change(4);
my $back = time;
$redises->start($victim);
$c = $chaos->converges('a node lost and back', 60);
wait_for('the full syncs go on to their end', 40, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled', 'partial')"),
    0, 'and are whole');
note(sprintf 'a node away for %.1f s: lost %d, wrong %d, of %d; equal %.1f s after it was back',
    $back - $killed, @$c{qw(lost wrong of)}, time - $back);
Chaos::report($c);
done_testing;
