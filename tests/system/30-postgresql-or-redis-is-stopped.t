#!/usr/bin/perl
# A stopped PostgreSQL or Redis makes no program exit or spin; the gateway answers as the contract
# says; work goes on by itself when it is back.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;
use Time::HiRes qw(time);

use constant AWAY_S => 4;

my @programs = qw(webhook-gw scheduler worker);
my $rig = Psync->new(own_postgres => 1,
    sim => [qw(--companies 250 --list-members 220 --contacts 0 --customers 10)]);
$rig->start(@programs);
$rig->connect_stripe(hooks => 1);
# Both providers' retries a thousand times faster: Stripe's first comes after 0.6 s.
$rig->sim(POST => 'webhooks/config', {retry_factor => 0.001});
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';
my ($first, $second, $third) = @{$rig->sim_stripe(GET => 'customers?ids=1')};

sub name_of {
    my ($id) = @_;
    return $rig->value("select raw ->> 'name' from psync_bi.stripe_customer
        where record_id = '$id'");
}

sub rename_to { $rig->sim_stripe(PATCH => "customers/$_[0]", {name => $_[1]}); return }

# Runs while a service is away: nobody exits, nobody spins.
sub stay_calm {
    my ($what) = @_;
    my %used = map { $_ => $rig->cpu_s($rig->pid($_)) } @programs;
    my @pids = map { $rig->pid($_) } @programs;
    my $since = time;
    Psync::until_true(AWAY_S, sub { time - $since >= AWAY_S });
    my $elapsed = time - $since;
    for my $program (@programs) {
        ok $rig->running($program), "$what: $program runs on" or next;
        my $share = ($rig->cpu_s($rig->pid($program)) - $used{$program}) / $elapsed;
        cmp_ok $share, '<', 0.3, "$what: $program does not spin";
    }
    return @pids;
}

sub ready { return $rig->http('GET', $rig->gateway . '/readyz')->{status} }

# ---- PostgreSQL ----
my $delivery = $rig->stripe_event('customer.updated', {id => $second, object => 'customer'});
is $rig->deliver_stripe($delivery)->{status}, 200, 'the gateway knows the connection';
is $rig->deliver_stripe($delivery, secret => 'whsec_wrong')->{status}, 401,
    'and has read what it knows anew';
$rig->stop_postgres;
rename_to($first, 'while PostgreSQL was away');
is $rig->deliver_stripe($delivery)->{status}, 200, 'PostgreSQL away: a delivery is taken';
is ready(), 200, 'PostgreSQL away: the gateway is ready';
is $rig->deliver_stripe($delivery, secret => 'whsec_wrong')->{status}, 401,
    'PostgreSQL away: a wrong signature is refused all the same';
my ($code, undef, $said) = $rig->cmd('status');
is $code, 8, 'PostgreSQL away: the command ends with 8';
like $said, qr/PostgreSQL/, 'and says what is away';
my @before = stay_calm('PostgreSQL away');
is scalar(grep { $_->{status} != 200 } @{$rig->sim(GET => 'webhooks/log')->{attempts}}), 0,
    'PostgreSQL away: every delivery was answered with 200';
$rig->start_postgres;
wait_for('PostgreSQL back: what was delivered meanwhile is written', 40,
    sub { name_of($first) eq 'while PostgreSQL was away' });
is_deeply [map { $rig->pid($_) } @programs], \@before, 'by the same processes';
rename_to($first, 'after PostgreSQL was back');
wait_for('PostgreSQL back: the next delivery is written', 20,
    sub { name_of($first) eq 'after PostgreSQL was back' });

# ---- Redis ----
wait_for('nothing is left to do', 30, sub { $rig->idle });
$rig->stop_redis;
my $answer = $rig->deliver_stripe($delivery);
is $answer->{status}, 503, 'Redis away: a delivery is refused with 503';
like $answer->{headers}{'retry-after'} // '', qr/^\d+$/, 'and Retry-After';
wait_for('Redis away: the gateway is not ready', 10, sub { ready() == 503 });
is $rig->http('GET', $rig->gateway . '/livez')->{status}, 200, 'Redis away: but alive';
($code) = $rig->cmd('queue', 'stats');
is $code, 8, 'Redis away: the command ends with 8';
rename_to($second, 'while Redis was away');
@before = stay_calm('Redis away');
$rig->start_redis;
wait_for('Redis back: the gateway is ready', 20, sub { ready() == 200 });
wait_for('Redis back: what the provider delivers again is written', 40,
    sub { name_of($second) eq 'while Redis was away' });
is_deeply [map { $rig->pid($_) } @programs], \@before, 'by the same processes';

# ---- Redis killed: what was answered with 200 is not lost ----
$rig->stop('worker');
my $others = $rig->sim_stripe(GET => 'customers?ids=1');
$rig->sim_stripe(PATCH => "customers/$_", {name => "kept $_", notify => JSON::PP::false})
    for @$others;
my @statuses = $rig->post_all(map {
    $rig->stripe_delivery($rig->stripe_event('customer.updated',
        {id => $_, object => 'customer'}))
} @$others);
is_deeply [grep { $_ != 200 } @statuses], [], 'deliveries are taken without a worker';
my $redis = delete $rig->{pids}{redis};
Psync::end_pid($redis, 'KILL', 10);
$rig->start_redis;
$rig->start('worker');
wait_for('Redis killed: every delivery that was taken is written', 40, sub {
    $rig->value("select count(*) from psync_bi.stripe_customer
        where raw ->> 'name' = 'kept ' || record_id") == @$others;
});

# ---- in the middle of a full sync ----
my $hold = $rig->fault(provider => 'hubspot', regex => 'batch/read', times => -1, hold_ms => 500);
my $hubspot = $rig->connect_hubspot;
wait_for('a full sync is in its middle', 20, sub { $rig->held($hold) >= 1 });
$rig->stop_postgres;
$rig->stop_redis;
stay_calm('both away');
$rig->start_redis;
$rig->start_postgres;
$rig->sim(DELETE => "faults/$hold");
wait_for('both back: the full sync goes on by itself and succeeds', 60, sub {
    $rig->value("select status from psync.run where connection_id = $hubspot
        order by run_id desc limit 1") eq 'succeeded';
});
is $rig->value("select count(*) from psync_bi.hubspot_company
    where in_scope and deleted_at is null"), 220, 'and nothing is missing';
wait_for('nothing is left to do', 30, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');

# ---- a gateway that starts while PostgreSQL is away ----
$rig->stop('webhook-gw');
$rig->stop_postgres;
$rig->{pids}{'webhook-gw'} = $rig->spawn('webhook-gw',
    [Psync::bin() . '/pivotal-sync-webhook-gw'], env => {$rig->environment},
    listen => $rig->{socket});
is $rig->deliver_stripe($delivery)->{status}, 503,
    'a gateway that has never seen its routes answers 503';
ok $rig->running('webhook-gw'), 'and waits';
$rig->start_postgres;
wait_for('until PostgreSQL is there', 30,
    sub { $rig->deliver_stripe($delivery)->{status} == 200 });

# ---- a connection that is made just before PostgreSQL goes ----
kill 'STOP', $rig->pid('webhook-gw');
$rig->must('connection', 'connect', 'stripe', '--token-file',
    $rig->secret_file('live', 'rk_live_sim000000000000000000000001'), '--webhook-secret-file',
    $rig->secret_file('live-hook', Psync::STRIPE_SECRET));
my $new = $rig->gateway . '/webhooks/stripe/'
    . $rig->value("select connection_id from psync.connection where mode = 'live'
        and provider = 'stripe'");
$rig->stop_postgres;
kill 'CONT', $rig->pid('webhook-gw');
wait_for('a delivery for it is answered with 503, not as if nobody knew it', 20,
    sub { $rig->deliver_stripe($delivery, url => $new)->{status} == 503 });
$rig->start_postgres;
wait_for('until PostgreSQL is there', 30,
    sub { $rig->deliver_stripe($delivery, url => $new)->{status} == 200 });
is $rig->deliver_stripe($delivery, url => $rig->gateway . '/webhooks/stripe/999')->{status}, 404,
    'what nobody knows is 404';

is $rig->stop($_), 0, "$_ ends with 0" for @programs;
done_testing;
