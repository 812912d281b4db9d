#!/usr/bin/perl
# How soon work is taken: by a worker that is idle, and for one tenant while another has a million
# units waiting. From put to claim as the log has it, so in whole milliseconds.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row runs rig unlimited);
use Digest::SHA qw(hmac_sha256_base64);
use Psync;
use Time::HiRes qw(time sleep);

use constant {PER_S => 50, SECONDS => 10};

my $waiting = $ENV{BENCH_WAITING} // 1_000_000;
my $companies = $ENV{BENCH_COMPANIES} // 45_000;    # of those: what A's quota reads meanwhile

# Waits since an attempt, in order.
sub waits {
    my ($rig, $connection, $trigger, $since, $count) = @_;
    my $which = "attempt_id > $since and connection_id = $connection and trigger = '$trigger'
        and kind = 'record'";
    Psync::until_true(60, sub {
        $rig->value("select count(*) from psync.attempt where $which") >= $count })
        or die "the units of connection $connection are not worked\n";
    return map { $_->{queue_wait_ms} }
        $rig->rows("select queue_wait_ms from psync.attempt where $which order by 1");
}
sub percentile { my ($p, @sorted) = @_; return $sorted[int($p * $#sorted + 0.5)] }
sub newest { return $_[0]->value('select coalesce(max(attempt_id), 0) from psync.attempt') }

# Do it so often a second.
sub paced {
    my ($count, $per_s, $do) = @_;
    my $began = time;
    for my $n (0 .. $count - 1) {
        my $left = $began + $n / $per_s - time;
        sleep $left if $left > 0;
        $do->($n);
    }
    return;
}

# ---- a worker that is idle ----
{
    my $count = PER_S * SECONDS;
    my $rig = unlimited(['--companies', 0, '--contacts', 0, '--customers', $count]);
    $rig->start(qw(webhook-gw scheduler worker));
    my $connection = $rig->connect_stripe;
    $rig->run_now('stripe') == 0 or die "the first full sync fails\n";
    my @ids = @{$rig->sim_stripe(GET => 'customers?ids=1')};
    my (@median, @p99);
    for (1 .. runs()) {
        Psync::until_true(60, sub { $rig->idle }) or die "the queue is not empty\n";
        my $since = newest($rig);
        paced($count, PER_S, sub {
            my ($n) = @_;
            $rig->deliver_stripe($rig->stripe_event('customer.updated',
                {id => $ids[$n], object => 'customer'}))->{status} == 200
                or die "a delivery is refused\n";
        });
        my @w = waits($rig, $connection, 'webhook', $since, $count);
        push @median, percentile(0.5, @w);
        push @p99, percentile(0.99, @w);
    }
    row('wait.idle_worker_50_a_second_p50', 'ms', ['<=', 5], @median);
    row('wait.idle_worker_50_a_second_p99', 'ms', ['<=', 50], @p99);
}

# ---- behind a million units of another tenant ----
my $rig = rig(sim => ['--companies', $companies, '--list-members', $companies,
    '--contacts', 0, '--customers', 20], settings => {WORKER_PROCESSES => 1});
my @workers = qw(worker worker-2);
my $acme_sequence = 0;

sub delivery {
    my (@ids) = @_;
    my $t = int(time * 1000);
    my $body = '[' . join(',', map {
        sprintf '{"eventId":%d,"subscriptionId":1,"portalId":%d,"appId":1160452,"occurredAt":%d,'
            . '"subscriptionType":"company.propertyChange","attemptNumber":0,"objectId":%d,'
            . '"propertyName":"name","propertyValue":"x","changeSource":"CRM"}',
            ++$acme_sequence, Psync::PORTAL, $t, $_ } @ids) . ']';
    my $signature = hmac_sha256_base64("POST$rig->{gateway}/webhooks/hubspot$body$t",
        Psync::HUBSPOT_SECRET);
    $signature .= '=' while length($signature) % 4;
    return [$body, {'Content-Type' => 'application/json', 'X-HubSpot-Signature-v3' => $signature,
        'X-HubSpot-Request-Timestamp' => $t}, "$rig->{gateway}/webhooks/hubspot"];
}

# A hundred units a delivery, a few deliveries at once.
sub deliver {
    my (@ids) = @_;
    while (my @part = splice @ids, 0, 100 * 8) {
        my @requests;
        push @requests, delivery(splice @part, 0, 100) while @part;
        $_ == 200 or die "a delivery is refused: $_\n" for $rig->post_all(@requests);
    }
    return;
}

$rig->must('workspace', 'add', 'beta', '--currency', 'usd');
$rig->must('connection', 'connect', 'stripe', '-w', 'beta', '--token-file',
    $rig->secret_file('stripe', Psync::STRIPE_KEY));
my $beta = $rig->connection('stripe');
$rig->start('webhook-gw', 'scheduler', @workers);
Psync::until_true(60, sub { $rig->idle && $rig->value(
    "select count(*) from psync.record where object_type = 'customer'") == 20 })
    or die "tenant B is not mirrored\n";
my @customers = @{$rig->sim_stripe(GET => 'customers?ids=1')};
$rig->sim_hubspot(POST => 'properties/companies',
    {name => 'tier', type => 'string', fieldType => 'text'});
$rig->must('connection', 'connect', 'hubspot', '-w', 'acme', '--token-file',
    $rig->secret_file('hubspot', Psync::HUBSPOT_TOKEN));
$rig->must('scope', 'set', 'hubspot', 'list', 42, '-w', 'acme');
Psync::until_true(300, sub {
    $rig->value("select count(*) filter (where kind = 'ids') > 0 and count(*) filter (where
        kind = 'scope' and status in ('waiting', 'queued')) = 0 from psync.run_chunk") eq 't' })
    or die "tenant A's list is not read\n";
$rig->stop($_) for @workers;
my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
deliver(@members);
for (my $id = 900_000_000_000; $companies < $waiting; $companies += 10_000, $id += 10_000) {
    deliver($id .. $id + 9_999);
}
my (@median, @p99);
$rig->start(@workers);
for my $run (1 .. 3) {
    my $since = newest($rig);
    paced(100, 10, sub {
        my ($n) = @_;
        $rig->must('resync', 'stripe', $customers[$n % @customers], '-w', 'beta');
    });
    my @w = waits($rig, $beta, 'person', $since, 100);
    push @median, percentile(0.5, @w);
    push @p99, percentile(0.99, @w);
}
my $left = $rig->cmd_json('queue', 'stats')->{waiting}{webhook};
$left > 0.8 * $waiting or die "only $left units of tenant A wait\n";
row("wait.behind_${waiting}_units_of_another_tenant_p50", 'ms', undef, @median);
row("wait.behind_${waiting}_units_of_another_tenant_p99", 'ms', ['<=', 50], @p99);
