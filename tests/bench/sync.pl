#!/usr/bin/perl
# Full syncs and webhooks with providers that answer at once and have no limit: what this side can
# do. The simulator, Redis and PostgreSQL share the machine.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row runs rss_kb);
use Psync;
use Time::HiRes qw(time sleep);

my $customers = $ENV{BENCH_CUSTOMERS} // 20_000;
my $companies = $ENV{BENCH_COMPANIES} // 10_000;
my $deliveries = $ENV{BENCH_DELIVERIES} // 200;

# A rig whose accounts have no limits, and whose limiter believes the providers said so.
sub unlimited {
    my (@sim) = @_;
    my $rig = Psync->new(sim => \@sim, settings => {WORKER_PROCESSES => 2, LEASE_S => 30});
    $rig->sim_stripe(PATCH => '', {settings => {limit_global_test => 0, limit_endpoint => 0}});
    $rig->sim_hubspot(PATCH => '', {settings => {map { ("limit_$_" => 0) }
        qw(general search associations)}});
    for my $bucket ('stripe:' . Psync::ACCOUNT . ':test:api',
        map { 'hubspot:' . Psync::PORTAL . ":live:$_" } qw(general search associations)) {
        $rig->redis('hset', "{ps0}:q:$bucket", 'tr', 100_000);
    }
    return $rig;
}

# The newest run once it ended: records in a second, and our processor time for each of them.
sub full {
    my ($rig, $records, $begin) = @_;
    my $cpu = $rig->cpu_s($rig->pid('worker'));
    my $last = $rig->value('select coalesce(max(run_id), 0) from psync.run');
    $begin->();
    my $run = "(select max(run_id) from psync.run where kind = 'full' and run_id > $last)";
    Psync::until_true(900, sub { $rig->value("select count(*) from psync.run
        where run_id = $run and finished_at is not null") })
        or die "a full sync does not end\n";
    my ($status, $took) = split /\|/, $rig->value("select status,
        extract(epoch from finished_at - started_at) from psync.run where run_id = $run");
    $status eq 'succeeded' or die "a full sync ended $status\n";
    return ($records / $took, ($rig->cpu_s($rig->pid('worker')) - $cpu) / $records * 1e6);
}

sub first_and_again {
    my ($records, $connect, $provider, @sim) = @_;
    my %got;
    for (1 .. runs()) {
        my $rig = unlimited(@sim);
        $rig->start('worker');
        my ($rate, $cpu) = full($rig, $records, sub {
            $connect->($rig);
            $rig->start('scheduler');
            $rig->cmd('run-now', $provider); });
        push @{$got{first}}, $rate;
        push @{$got{first_cpu}}, $cpu;
        ($rate, $cpu) = full($rig, $records, sub { $rig->must('run-now', $provider) });
        push @{$got{again}}, $rate;
        push @{$got{again_cpu}}, $cpu;
        my ($most) = sort { $b <=> $a } map { rss_kb($_) } $rig->children_of($rig->pid('worker'));
        push @{$got{rss}}, $most / 1024;
        $rig->stop($_) for qw(worker scheduler);
    }
    return \%got;
}

# ---- full syncs ----
my $got = first_and_again($customers, sub { $_[0]->connect_stripe }, 'stripe', '--companies', 1,
    '--customers', $customers, '--subscriptions-per-customer', 0);
row('stripe.customers_first', 'records/s', ['>=', 20000], @{$got->{first}});
row('stripe.customers_first_cpu', 'us/record', undef, @{$got->{first_cpu}});
row('stripe.customers_unchanged', 'records/s', ['>=', 40000], @{$got->{again}});
row('stripe.customers_unchanged_cpu', 'us/record', undef, @{$got->{again_cpu}});
row('worker.rss_stripe', 'MB', ['<=', 24], @{$got->{rss}});

$got = first_and_again($companies, sub { $_[0]->connect_hubspot }, 'hubspot', '--companies',
    $companies, '--list-members', $companies, '--contacts', 0, '--customers', 1);
row('hubspot.companies_first', 'records/s', ['>=', 12000], @{$got->{first}});
row('hubspot.companies_first_cpu', 'us/record', undef, @{$got->{first_cpu}});
row('hubspot.companies_unchanged', 'records/s', ['>=', 30000], @{$got->{again}});
row('hubspot.companies_unchanged_cpu', 'us/record', undef, @{$got->{again_cpu}});
row('worker.rss_hubspot', 'MB', ['<=', 24], @{$got->{rss}});

# ---- from the delivery to the committed row ----
my $rig = unlimited('--companies', 1, '--customers', 300, '--subscriptions-per-customer', 0);
$rig->start('webhook-gw', 'worker');
full($rig, 300, sub { $rig->connect_stripe(hooks => 1); $rig->start('scheduler');
    $rig->cmd('run-now', 'stripe') });
my @ids = @{$rig->sim_stripe(GET => 'customers?ids=1')};
for my $n (1 .. $deliveries) { # 20 a second
    my $next = time + 0.05;
    $rig->sim_stripe(PATCH => "customers/$ids[$n % @ids]", {name => "Changed $n"});
    sleep $next - time if $next > time;
}
Psync::until_true(60, sub { $rig->idle }) or die "the queue does not run empty\n";
my ($p50, $p99) = split /\|/, $rig->value("select percentile_cont(0.5) within group (order by ms),
    percentile_cont(0.99) within group (order by ms) from (select queue_wait_ms + duration_ms as ms
    from psync_bi.sync_log where trigger = 'webhook') v");
row('webhook.to_row_p50', 'ms', ['<=', 3], $p50);
row('webhook.to_row_p99', 'ms', ['<=', 10], $p99);
