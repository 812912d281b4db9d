#!/usr/bin/perl
# What the log costs: processor time of worker and PostgreSQL for a record with its rows and without
# (a rule of the database leaves them out), in pairs that take turns at being first, since that tells
# on a busy machine as well; and how fast the first page of Errors only comes out of a million.
# Vacuum runs between the measurements and not when it likes: it ended in either of a pair.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row runs unlimited);
use Psync;

my $records = $ENV{BENCH_LOG_RECORDS} // 4000;
my $rig = unlimited(['--companies', $records, '--list-members', $records, '--contacts', 0,
    '--customers', 1], postgres_options => [qw(-c autovacuum=off -c checkpoint_timeout=1h -c),
    'max_wal_size=8GB']);
$rig->start(qw(webhook-gw scheduler worker));
my $connection = $rig->connect_hubspot;
$rig->run_now('hubspot') == 0 or die "the first full sync does not succeed\n";
my @ids = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

sub cpu { return $rig->cpu_s($rig->pid('worker')) + $rig->cpu_s($rig->pid('postgres')) }

# Every company changes and is told of; nothing is worked before all of it waits.
sub burst {
    my ($n) = @_;
    $rig->sim_hubspot(POST => 'companies/bulk', {ids => [map { "$_" } @ids],
        properties => {industry => "BENCH_$n"}, notify => JSON::PP::false});
    $rig->must('connection', 'pause', 'hubspot');
    my @told = @ids;
    while (my @batch = splice @told, 0, 100) {
        $rig->deliver_hubspot($rig->hubspot_events(map { {objectId => 0 + $_,
            propertyName => 'industry', propertyValue => "BENCH_$n"} } @batch))->{success}
            or die "a delivery is refused\n";
    }
    my $before = $rig->value('select last_value from psync.fetch_no');
    my $began = cpu();
    $rig->must('connection', 'resume', 'hubspot');
    Psync::until_true(300, sub { $rig->value("select count(*) from psync.record_seen
        where connection_id = $connection and object_type = 'company' and fetch_no > $before")
        >= @ids }) or die "a burst does not end\n";
    return (cpu() - $began) / @ids * 1e6;
}

# A full sync of all that changed: one row a page.
sub full {
    my ($n) = @_;
    $rig->sim_hubspot(POST => 'companies/bulk', {ids => [map { "$_" } @ids],
        properties => {industry => "FULL_$n"}, notify => JSON::PP::false});
    my $began = cpu();
    $rig->run_now('hubspot') == 0 or die "a full sync does not succeed\n";
    return (cpu() - $began) / @ids * 1e6;
}

sub measured {
    my ($do, $log, $n) = @_;
    my @tables = qw(attempt attempt_body);
    $rig->value('vacuum analyze');
    $rig->value('checkpoint');
    $log or $rig->value("create rule bench_$_ as on insert to psync.$_ do instead nothing")
        for @tables;
    my $got = $do->($n . ($log ? '.with' : '.without'));
    $log or $rig->value("drop rule bench_$_ on psync.$_") for @tables;
    return $got;
}

for my $case (['full', \&full], ['webhooks', \&burst]) {
    my ($name, $do) = @$case;
    my (@with, @without, @cost);
    $do->('warm');
    for my $n (1 .. runs()) {
        my %took = map { $_ => measured($do, $_, $n) } $n % 2 ? (0, 1) : (1, 0);
        push @with, $took{1};
        push @without, $took{0};
        push @cost, 100 * (1 - $took{0} / $took{1});
    }
    row("log_on_$name", 'us/record', undef, @with);
    row("log_off_$name", 'us/record', undef, @without);
    row("log_cost_$name", '%', ['<=', 10], @cost);
}

$rig->value(qq{insert into psync.attempt (attempt_id, connection_id, kind, trigger, object_type,
    record_id, status, error_code, started_at)
    select psync.attempt_floor(t) + i % 1000, $connection, 'record', 'webhook', 'company',
        (i % 5000)::text, case when i % 40 = 0 then 'failed' else 'succeeded' end,
        case when i % 40 = 0 then 'provider_error' else '' end, t
    from (select i, now() - interval '6 days' * i / 1000000 as t
        from generate_series(1, 1000000) i) x on conflict do nothing});
$rig->value('analyze psync.attempt');
my @ms;
for (0 .. runs()) {
    $rig->value("explain (analyze, summary) select * from psync_bi.sync_log
        where severity = 'error' and status in ('failed', 'partial', 'retrying')
        order by attempt_id desc limit 50") =~ /Execution Time: ([\d.]+) ms/ and push @ms, $1;
}
shift @ms;
row('errors_only_page_of_1M', 'ms', ['<=', 10], @ms);
