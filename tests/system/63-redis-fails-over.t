#!/usr/bin/perl
# Three sentinels, a primary and its replica, with a password of their own each, and with TLS where
# this build can: the primary is killed while deliveries come and a full sync runs. The programs find the new one by themselves; every row ends equal. First with
# what Redis promises by itself, in the long form then with REDIS_WAIT_REPLICAS: what was answered
# 200 is on the replica, at the price of 503 until there is one again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Redises;
use Test::More;
use Tls;
use Time::HiRes qw(sleep time);

my $rounds = Chaos::long_form() ? 8 : 1;
my $tls = Tls::to_redis();
my $redises = Redises->new(tls => $tls);
my $url = $redises->with_sentinels(password => 'sesame', sentinel_password => 'open');
my $chaos = Chaos->new(settings => {REDIS_URL => $url, REDIS_WAIT_REPLICAS => 0}, workers => 1,
    sim => ['--companies', 100, '--list-members', 80, '--contacts', 100, '--customers', 40]);
my $rig = $chaos->rig;
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 30, times => -1}) for qw(hubspot stripe);
note('sentinels, primary and replica ' . ($tls ? 'with TLS' : 'without TLS: this build cannot'));

# ---- who has no password, or not the right one, gets nothing ----
for my $case (['of the sentinels', qr/sentinel.*NOAUTH|sentinel.*refuses us/, qr/[?&]sentinel_password=open/],
    ['of the primary', qr/NOAUTH|refuses us/, qr/:sesame(?=\@)/]) {
    my ($whose, $says, $what) = @$case;
    my ($first) = split /,/, $url;
    $first =~ s/$what/$what =~ m{sesame} ? '' : '?x=1'/e;
    my ($code, $out, $err) = Psync::run_argv({$rig->environment(REDIS_URL => $first)}, undef,
        Psync::bin() . '/pivotal-sync', 'queue', 'stats');
    is($code, 8, "without the password $whose");
    like($err, $says, 'which is said');
    unlike("$out$err", qr/sesame|open/, 'and none is');
}
if ($tls) {
    my ($first) = split /,/, $url;
    my $stranger = $first =~ s{ca\.crt}{stranger.crt}r;
    my ($code, $out, $err) = Psync::run_argv({$rig->environment(REDIS_URL => $stranger)}, undef,
        Psync::bin() . '/pivotal-sync', 'queue', 'stats');
    is($code, 8, 'sentinels of another CA are refused');
    like($err, qr/certificate|TLS/, 'which is said');
}

my ($c, $primary) = (undef, 'a');
for my $round (1 .. $rounds) {
    my $replica = $primary eq 'a' ? 'b' : 'a';
    $rig->cmd('run-now', $_) for qw(hubspot stripe);
    $chaos->change(20);
    my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    $redises->kill_server($primary);
    my $killed = time;
    $chaos->change(20);
    wait_for('the replica is made the primary', 30,
        sub { $redises->ask($replica, 'role') =~ /^master/ });
    my $promoted = time - $killed;
    my $wait = $rig->{settings}{REDIS_WAIT_REPLICAS};
    my $work = sub {
        wait_for('work goes on', 30, sub {
            $chaos->change(1);
            $rig->value("select count(*) from psync.attempt where attempt_id > $before and trigger"
                . " = 'webhook' and status in ('succeeded', 'partial')"
                . " and started_at > now() - interval '1 s'") > 0;
        });
        return time - $killed;
    };
    my $recovered = $wait ? 0 : $work->();
    $redises->start($primary);
    $wait || $round < $rounds and wait_for('the killed one comes back as its replica', 60,
        sub { $redises->ask($replica, 'info', 'replication') =~ /state=online/ });
    $recovered ||= $work->();
    $chaos->change(5);
    $c = $chaos->converges("fail-over $round", 60);
    note(sprintf 'fail-over%s: promoted after %.1f s, work after %.1f s, equal after %.1f s; lost %d,'
        . ' wrong %d, of %d', $wait ? ', a replica is waited for' : '', $promoted, $recovered, time - $killed, @$c{qw(lost wrong of)});
    $primary = $replica;
    $rig->{settings}{REDIS_WAIT_REPLICAS} = 1 - $wait;
    $rig->stop('webhook-gw');
    $chaos->revive;
}
my $log = $rig->sim(GET => 'webhooks/log');
my %status;
$status{$_->{status}}++ for @{$log->{attempts}};
is(join(' ', grep { !/^(?:2..|503)$/ } sort keys %status), '',
    'a delivery is answered 200, or 503 while no primary takes it')
    or diag(join ', ', map { "$_: $status{$_}" } sort keys %status);
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
