#!/usr/bin/perl
# A Redis Cluster of three primaries with a replica each, with TLS where this build can: the primary
# that holds work is killed while deliveries come and full syncs run, and its replica is made the
# primary. The programs find it by themselves; every row ends equal. The killed one comes back as a
# replica, and is the next to be promoted.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Redises;
use Test::More;
use Time::HiRes qw(time);
use Tls;

my $rounds = Chaos::long_form() ? 8 : 2;
my $redises = Redises->new(tls => Tls::to_redis());
my $url = $redises->with_cluster(replicas => 1);
my $chaos = Chaos->new(settings => {REDIS_URL => $url, QUEUE_SHARDS => 6}, workers => 1,
    sim => ['--companies', 100, '--list-members', 80, '--contacts', 100, '--customers', 40]);
my $rig = $chaos->rig;
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 30, times => -1}) for qw(hubspot stripe);
my ($shard) = split /\n/, $rig->value("select shard from psync.connection where provider = 'stripe'");

my $c;
for my $round (1 .. $rounds) {
    my $victim = $redises->owner("{ps$shard}:");
    my $replica = $redises->replica_of($victim);
    wait_for("$replica follows $victim", 30,
        sub { $redises->ask($replica, 'info', 'replication') =~ /master_link_status:up/ });
    $rig->cmd('run-now', $_) for qw(hubspot stripe);
    $chaos->change(20);
    my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    $redises->kill_server($victim);
    my $killed = time;
    $chaos->change(20);
    wait_for("$replica is made the primary", 30,
        sub { $redises->ask($replica, 'role') =~ /^master/ });
    my $promoted = time - $killed;
    wait_for('work of its shard goes on', 30, sub {
        $chaos->change(2);
        $rig->value("select count(*) from psync.attempt join psync.connection using (connection_id)"
            . " where attempt_id > $before and provider = 'stripe' and trigger = 'webhook'"
            . " and status in ('succeeded', 'partial') and started_at > to_timestamp($killed + $promoted)");
    });
    my $recovered = time - $killed;
    $redises->start($victim);
    wait_for("$victim comes back as its replica", 60, sub { $redises->ask($victim, 'role') =~ /^slave/ });
    $chaos->change(5);
    $c = $chaos->converges("fail-over $round", 60);
    note(sprintf 'cluster fail-over: promoted after %.1f s, work after %.1f s, equal after %.1f s; lost'
        . ' %d, wrong %d, of %d', $promoted, $recovered, time - $killed, @$c{qw(lost wrong of)});
}
my %status;
$status{$_->{status}}++ for @{$rig->sim(GET => 'webhooks/log')->{attempts}};
is(join(' ', grep { !/^(?:2..|503)$/ } sort keys %status), '',
    'a delivery is answered 200, or 503 while no primary takes it');
note('deliveries answered ' . join ', ', map { "$_: $status{$_}" } sort keys %status);
wait_for('the full syncs go on to their end', 40, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled', 'partial')"),
    0, 'and are whole');
is($rig->value("select count(*) from (select from psync.record group by connection_id, object_type,"
    . ' record_id having count(*) > 1) v'), 0, 'no record is there twice');
Chaos::report($c);
done_testing;
