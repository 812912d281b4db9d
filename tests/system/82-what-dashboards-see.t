#!/usr/bin/perl
# What dashboards rely on: the views with their comments and rights, "Errors only" out of a million
# attempts, /metrics of every program, the alert rules, and each panel of the dashboards.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $root = Psync::root();
my $rig = Psync->new(own_postgres => 1,
    sim => [qw(--companies 12 --list-members 10 --contacts 0 --customers 6)]);
my $folder = $rig->dir . '/metrics';
mkdir $folder;
$rig->{settings}{METRICS_LISTEN} = $folder;
$rig->{settings}{ADMIN_LISTEN} = "unix:$folder/../admin.sock";

sub slurp {
    my ($path) = @_;
    open my $f, '<', $path or die "'$path': $!";
    local $/;
    return scalar <$f>;
}

# ---- the views ----
my @views = qw(connection_status sync_log run_history errors_daily record_health
    webhook_health_hourly field_provenance audit_trail gauge_history error_reference customer
    completeness hubspot_company hubspot_contact stripe_customer stripe_subscription stripe_price
    stripe_product stripe_coupon stripe_invoice stripe_charge stripe_payment_intent stripe_refund
    stripe_credit_note stripe_dispute stripe_promotion_code);
my %there = map { $_->{relname} => 1 } $rig->rows(q{select relname from pg_class
    where relnamespace = 'psync_bi'::regnamespace and relkind = 'v'});
ok $there{$_}, "psync_bi.$_ is there" for @views;
is $rig->value(q{select coalesce(string_agg(relname, ' '), '') from pg_class
    where relnamespace = 'psync_bi'::regnamespace and relkind <> 'v'}), '',
    'psync_bi has views and nothing else';
is $rig->value(q{select coalesce(string_agg(relname, ' '), '') from pg_class
    where relnamespace = 'psync_bi'::regnamespace and obj_description(oid, 'pg_class') is null}),
    '', 'every view has a comment';
is $rig->value(q{select coalesce(string_agg(relname || '.' || attname, ' '), '') from pg_class
    join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
    where relnamespace = 'psync_bi'::regnamespace
    and col_description(attrelid, attnum) is null}), '', 'and every column of every view';

is $rig->must('reference', 'sql'), slurp("$root/docs/sql.md"), 'docs/sql.md says the same'
    or diag 'run `make docs`';

# ---- the role ----
sub as_reader {
    my ($sql) = @_;
    return eval { $rig->value("set role psync_bi_reader; $sql") } // "refused: $@";
}
for my $view (sort keys %there) {
    unlike as_reader("select count(*) from psync_bi.$view"), qr/refused/, "a reader reads $view";
}
for my $table (qw(attempt_body credential webhook_event attempt connection admin_token record)) {
    like as_reader("select count(*) from psync.$table"), qr/permission denied/,
        "a reader does not reach psync.$table";
}
like as_reader("insert into psync_bi.audit_trail (actor) values ('me')"), qr/permission denied|cannot/,
    'a reader writes nothing';
like as_reader("select psync.drop_partitions(0)"), qr/permission denied/, 'and calls nothing of ours';
is $rig->value(q{select coalesce(string_agg(relname || '.' || attname, ' '), '') from pg_class
    join pg_attribute on attrelid = pg_class.oid and attnum > 0
    where relnamespace = 'psync_bi'::regnamespace
    and attname ~ '(token|secret|password|body|headers)'}), '', 'no view has a column of that kind';

# ---- a little of everything ----
$rig->start(qw(webhook-gw scheduler worker admin));
my $hubspot = $rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
my $stripe = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'Stripe is mirrored';
my ($company) = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
$rig->sim_hubspot(PATCH => "companies/$company", {properties => {industry => 'BANKING'}});
wait_for('a delivery is committed', 20, sub {
    $rig->value("select count(*) from psync_bi.sync_log where record_id = '$company'
        and trigger = 'webhook' and status = 'succeeded'");
});
$rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_1'}), secret => 'wrong');

# ---- the log from people's actions ----
{
    my @did = (['connection', 'pause', 'stripe'], ['connection', 'resume', 'stripe'],
        ['resync', 'hubspot', $company], ['run-now', 'hubspot', '--wait'], ['workspace', 'set', 'acme', '--nightly-at', '04:00']);
    $rig->must(@$_) for @did;
    my %action = map { $_->{action} => $_ } $rig->rows('select * from psync_bi.audit_trail');
    ok $action{$_}, "the audit has $_" or diag join ' ', sort keys %action
        for qw(connection.connect connection.pause connection.resume record.resync run.start
        scope.set workspace.set);
    is scalar(grep { !length $_->{actor} } values %action), 0, 'with who did it';
}

# ---- /metrics ----
my @sockets;
wait_for('every program has its socket', 20, sub {
    @sockets = sort map { s{.*/(.*)\.sock$}{$1}r } glob "$folder/*.sock";
    return @sockets >= 4;
});
is_deeply \@sockets, [qw(pivotal-sync-admin pivotal-sync-scheduler pivotal-sync-webhook-gw
    pivotal-sync-worker-1)], 'one for each program, one for each worker process';
my %metric;
wait_for('the scheduler has counted', 20, sub {
    (Psync::run_argv(undef, undef, 'curl', '-s', '--unix-socket', "$folder/pivotal-sync-scheduler.sock",
        'http://localhost/metrics'))[1] =~ /^pivotal_sync_records\{/m;
});
for my $program (@sockets) {
    my (undef, $text) = Psync::run_argv(undef, undef, 'curl', '-s', '--unix-socket',
        "$folder/$program.sock", 'http://localhost/metrics');
    my $path = $rig->dir . "/$program.txt";
    open my $f, '>', $path or die $!;
    print {$f} $text;
    close $f;
    $metric{$1} = 1 while $text =~ /^# TYPE (\w+)/mg;
    SKIP: {
        skip 'promtool is not installed (deploy/deps test)', 1 unless -x '/usr/bin/promtool';
        my ($code, $out, $err) = Psync::run_argv(undef, $path, 'promtool', 'check', 'metrics');
        is $code, 0, "$program: promtool check metrics" or diag "$out$err";
    }
    unlike $text, qr/[{,](record|customer|workspace|connection)_id=/, "$program: no ids as labels";
    unlike $text, qr/\b(pat-na1|rk_test|whsec)_?/, "$program: and no secrets";
}
ok $metric{"pivotal_sync_$_"}, "pivotal_sync_$_ is served"
    for qw(build_info attempts_total attempt_duration_seconds queue_jobs
    queue_oldest_job_age_seconds queue_wait_seconds webhook_events_total webhook_lag_seconds
    provider_request_duration_seconds provider_throttled_seconds_total quota_remaining_ratio
    connection_state last_incremental_timestamp_seconds last_full_success_timestamp_seconds
    incremental_stale full_sync_progress_ratio records rows_upserted_total workers
    leases_expired_total);
my $worker = slurp($rig->dir . '/pivotal-sync-worker-1.txt');
like $worker, qr/^pivotal_sync_attempts_total\{provider="hubspot",kind="record",status="succeeded",error_type=""\} \d/m,
    'a worker counts its attempts';
like $worker, qr/^pivotal_sync_webhook_lag_seconds_count\{provider="hubspot"\} [1-9]/m,
    'and how long events took to their row';
like $worker, qr/^pivotal_sync_provider_request_duration_seconds_count\{provider="hubspot",endpoint="\/crm\/[^"]*\{v\}[^"]*",status_class="2xx"\} [1-9]/m,
    'calls by the template of their path';
like $worker, qr/^pivotal_sync_rows_upserted_total\{object="company",effect="created"\} 10$/m,
    'and rows written';

# ---- alert rules and dashboards ----
# Every name of ours in an expression; a histogram's series end in one of three ways.
sub names_exist {
    my ($what, $expression) = @_;
    for my $name ($expression =~ /\b(pivotal_sync_\w+)/g) {
        (my $family = $name) =~ s/_(?:bucket|count|sum)$//;
        ok $metric{$name} || $metric{$family}, "$what: $name exists";
    }
    return;
}
my $rules = "$root/deploy/prometheus/pivotal-sync.rules.yml";
SKIP: {
    skip 'promtool is not installed (deploy/deps test)', 1 unless -x '/usr/bin/promtool';
    my ($code, $out, $err) = Psync::run_argv(undef, undef, 'promtool', 'check', 'rules', $rules);
    is $code, 0, 'promtool check rules' or diag "$out$err";
}
names_exist('alert rules', slurp($rules) =~ s/^#.*//mgr);
my @files = glob "$root/deploy/grafana/dashboards/*.json";
is scalar(@files), 2, 'two dashboards';
for my $file (@files) {
    my $dashboard = json->decode(slurp($file));
    my @statements = map { [$_->{name}, $_->{rawQuery}] } @{$dashboard->{annotations}{list}};
    for my $panel (@{$dashboard->{panels}}) {
        for my $target (@{$panel->{targets}}) {
            push @statements, [$panel->{title}, $target->{rawSql}] if $target->{rawSql};
            names_exist("panel '$panel->{title}'", $target->{expr}) if $target->{expr};
        }
    }
    for my $statement (@statements) {
        my ($title, $sql) = @$statement;
        $sql =~ s/\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)/$1 BETWEEN now() - interval '1 day' AND now()/g;
        unlike as_reader($sql), qr/refused/, "'$title' runs as a reader";
    }
}

# ---- a million attempts ----
$rig->value("select psync.make_partitions()");
# What the planner knows is what analyze says below, not what a vacuum met half-way.
$rig->value("alter table psync.$_ set unlogged, set (autovacuum_enabled = off)") for map { $_->{relname} } $rig->rows(q{
    select relname from pg_class join pg_inherits on inhrelid = oid
    where inhparent = 'psync.attempt'::regclass});
$rig->value(qq{insert into psync.attempt (attempt_id, connection_id, kind, trigger, object_type,
    record_id, status, error_code, started_at)
    select psync.attempt_floor(t) + i % 1000, case when i % 2 = 0 then $hubspot else $stripe end,
        'record', 'webhook', 'company', (i % 5000)::text,
        case when i % 40 = 0 then 'failed' else 'succeeded' end,
        case when i % 40 = 0 then 'provider_error' else '' end, t
    from (select i, now() - interval '6 days' * i / 1000000 as t
        from generate_series(1, 1000000) i) x on conflict do nothing});
$rig->value('analyze psync.attempt, psync.error_type, psync.connection');
cmp_ok $rig->value('select count(*) from psync.attempt'), '>=', 990_000, 'a million attempts';
my %page = (
    'of a connection' => "connection_id = $hubspot and",
    'of everything'   => '',
);
for my $which (sort keys %page) {
    my $plan = $rig->value("explain (costs off) select * from psync_bi.sync_log
        where $page{$which} severity = 'error' and status in ('failed', 'partial', 'retrying')
        order by attempt_id desc limit 50");
    my @scans = $plan =~ /((?:Index|Seq|Bitmap)[\w ]*Scan[\w ]*(?:using \w+ )?on attempt\w*)/g;
    cmp_ok scalar(@scans), '>', 0, "Errors only $which: reads the log";
    is scalar(grep { $_ !~ /attempt_\d+w\d+_(?:connection_id_attempt_id_idx1|attempt_id_idx)/ } @scans),
        0, "Errors only $which: by the partial index alone" or diag $plan;
    unlike $plan, qr/\bSort\b/, "Errors only $which: in its order, without sorting";
}
my ($code, $out) = $rig->cmd('log', '--errors-only', '-n', '50', '-o', 'jsonl');
is $code, 0, 'the command shows them';
is scalar(my @lines = split /\n/, $out), 50, 'a page of them';
done_testing;
