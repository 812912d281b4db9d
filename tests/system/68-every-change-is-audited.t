#!/usr/bin/perl
# Every command and every operation of the admin API that changes something leaves a row in the
# audit: who, by which way, what. A verb or an operation that is not in the tables below fails
# the test: whoever adds one says here what its row is, or why it has none.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $base = "http://127.0.0.1:$port";
my $rig = Psync->new(session => 1,
    sim => [qw(--companies 12 --list-members 8 --contacts 6 --customers 6)],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $base,
        STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
        STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001'});
$rig->start(qw(webhook-gw scheduler worker admin));
my $stripe_key = $rig->secret_file('stripe', Psync::STRIPE_KEY);

sub audit_mark { return $rig->value('select coalesce(max(audit_id), 0) from psync.audit') }

# Rows since a mark that say so.
sub audited {
    my ($what, $mark, $action, $kind) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @rows = $rig->rows("select actor, actor_kind, action, target from psync_bi.audit_trail
        where audit_id > $mark order by audit_id");
    my ($row) = grep { $_->{action} eq $action } @rows;
    ok $row, "$what: $action" or diag explain \@rows;
    is $row->{actor_kind}, $kind, "$what: by which way" if $row;
    isnt $row->{actor}, '', "$what: who" if $row;
    return;
}

sub runs_end {
    wait_for('no full sync is running', 60, sub {
        $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
    });
    return;
}

# A customer of HubSpot that no Stripe record belongs to.
sub free_customer {
    return $rig->value("select min(customer_id) from psync.record_link l
        join psync.customer c using (customer_id) where l.object_type = 'company'
        and c.archived_at is null and not exists (select from psync.record_link s
            where s.customer_id = l.customer_id and s.object_type = 'customer')");
}

# ---- commands ----
my %changes_nothing = map { $_ => 1 } ('status', 'diagnose', 'why', 'run list', 'run show', 'log',
    'show', 'explain', 'workspace list', 'connection list', 'connection show', 'scope show',
    'scope choices',
    'mapping show', 'mapping validate', 'mapping diff', 'customer list', 'customer show',
    'link list', 'webhook status', 'webhook log', 'webhook hsmeta', 'queue stats', 'queue list', 'queue parked',
    'queue fsck', 'worker list', 'quota', 'audit', 'token list', 'doctor', 'check-config',
    'support-bundle', 'completion', 'version', 'help', 'complete', 'reference', 'health',
    'connection reauthorize',    # prints an address; the walk that begins there has its row
    'webhook test',              # a delivery that says nothing to look at
    'up');                       # starts programs; what it sets up it does by other verbs
my %without_row = (
    migrate => 'makes the table of the audit; each step stands in psync.migration',
);
my %by_another_test = (    # that has what it takes, and asks for the row
    'queue move-shard' => ['62-several-redis.t', 'queue.move-shard'],
);
my %commands;    # verb => [action, words], or several

my $mapping = sub {
    my $shown = $rig->cmd_json('mapping', 'show', 'hubspot');
    return $rig->secret_file('map', json->encode({provider => 'hubspot',
        fields => [grep { $_->{field} ne 'industry' } @{$shown->{fields}}]}));
};
my ($company, $customer, $contact, $attempt);
my @commands = (
    # verb, action, words behind the verb (or a sub that answers them), what comes first
    ['workspace add', 'workspace.add', ['second']],
    ['workspace set', 'workspace.set', ['second', '--tz', 'Europe/Berlin']],
    ['workspace delete', 'workspace.delete', ['second', '--yes']],
    ['connection connect', 'connection.connect', ['stripe', '--token-file', $stripe_key,
        '--webhook-secret-file', $rig->secret_file('hook', Psync::STRIPE_SECRET)]],
    ['scope set', 'scope.set', ['hubspot', 'list', 42], sub { $rig->connect_hubspot(no_scope => 1) }],
    ['run-now', 'run.start', ['hubspot'], \&runs_end],
    ['run-now', 'run.incremental', ['hubspot', '--incremental'], \&runs_end],
    ['run cancel', 'run.cancel', sub { return $rig->value('select max(run_id) from psync.run') }, sub {
        $rig->fault(provider => 'hubspot', hold_ms => 3000, times => -1, regex => 'memberships');
        $rig->must('run-now', 'hubspot');
    }],
    ['resync', 'record.resync', sub { return ('hubspot', $company) }, sub {
        $rig->sim(DELETE => "faults/$_->{id}") for @{$rig->faults};
        runs_end();
        ($company) = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
        $rig->sim_hubspot(PATCH => "companies/$company", {properties => {annualrevenue => '1,2 Mio'}});
    }],
    ['retry', 'record.resync', sub { return $attempt }, sub {
        $attempt = wait_for('an attempt that can be tried again', 30, sub {
            my ($row) = $rig->rows("select attempt_id::text as id from psync_bi.sync_log
                where error_code = 'map_type_mismatch' and record_id = '$company' limit 1");
            return $row && $row->{id};
        });
        $rig->sim_hubspot(PATCH => "companies/$company", {properties => {annualrevenue => '12'}});
    }],
    ['connection set', 'connection.objects', ['hubspot', '--objects', 'default']],
    ['connection pause', 'connection.pause', ['stripe']],
    ['connection resume', 'connection.resume', ['stripe']],
    ['mapping apply', 'mapping.apply', sub { return $mapping->() }],
    ['mapping rollback', 'mapping.apply', ['hubspot', 1]],
    ['link add', 'link.add', sub { return ('stripe', $customer, free_customer()) }, sub {
        runs_end();
        ($customer) = @{$rig->sim_stripe(GET => 'customers?ids=1')};
    }],
    ['link remove', 'link.remove', sub { return ('stripe', $customer) }],
    ['erase', 'erase', sub { return ('hubspot', 'contact', $contact) }, sub {
        $contact = $rig->value("select record_id from psync_bi.hubspot_contact where in_scope limit 1");
    }],
    ['webhook repair', 'webhook.repair', ['stripe', '--new']],
    ['webhook rotate-secret', 'webhook.rotate_secret', ['stripe']],
    ['scope confirm-removals', 'scope.confirm_removals', ['hubspot'], sub {
        runs_end();
        $rig->sim_hubspot(PUT => 'lists/42/members', {members => [], notify => $no});
        $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    }],
    ['queue pause', 'queue.pause', ['--lane', 'nightly']],
    ['queue drain', 'queue.pause', []],
    ['queue resume', 'queue.resume', []],
    ['queue rebuild', 'queue.rebuild', []],
    ['token create', 'token.create', ['--role', 'viewer', '--name', 'later-revoked']],
    ['token revoke', 'token.revoke', sub { return $rig->value(
        "select token_id from psync.admin_token where name = 'later-revoked'") }],
    ['keys rotate', 'keys.rotate', []],
    ['connection disconnect', 'connection.disconnected', ['stripe', '--yes']],
);
wait_for('the admin service answers', 20,
    sub { $rig->http('GET', "$base/livez")->{status} == 200 });
for my $case (@commands) {
    my ($verb, $action, $words, $first) = @$case;
    $commands{$verb} = 1;
    $first->() if $first;
    my $mark = audit_mark();
    my @words = (split(/ /, $verb), ref $words eq 'CODE' ? $words->() : @$words);
    my ($code, $out, $err) = $rig->cmd(@words);
    is $code, 0, "@words" or diag "$out$err";
    audited($verb, $mark, $action, 'cli');
}
open my $f, '<', Psync::root() . '/cmd/table.c' or die "table.c: $!";
my @verbs = map { /\.words = "([^"]+)"/ ? $1 : () } <$f>;
close $f;
cmp_ok scalar(@verbs), '>', 50, 'the verbs of the command';
for my $verb (@verbs) {
    ok $commands{$verb} || $changes_nothing{$verb} || $without_row{$verb}
        || $by_another_test{$verb},
        "$verb: it is known whether it changes something";
}
is_deeply [grep { my $known = $_; !grep { $_ eq $known } @verbs }
        sort keys %commands, keys %changes_nothing, keys %without_row, keys %by_another_test], [],
    'and no verb is known that there is not';

for my $verb (sort keys %by_another_test) {
    my ($test, $action) = @{$by_another_test{$verb}};
    like Psync::text_of("$Bin/$test"), qr/action = '\Q$action\E'/, "$verb: $test asks for its row";
}

# ---- operations of the admin API ----
my ($token) = $rig->must('token', 'create', '--role', 'admin', '--name', 'api') =~ /(\S+)/;
my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0, max_redirect => 0);
my %session;    # of the page

sub call {
    my ($method, $path, $body, %headers) = @_;
    $headers{Authorization} = "Bearer $token" unless $headers{'X-Pivotal-Sync'};
    $headers{'Content-Type'} = 'application/json';
    return $http->request($method, "$base$path",
        {headers => \%headers, content => $body ? json->encode($body) : ''});
}
my %page = ('X-Pivotal-Sync' => 1, Origin => $base, 'Sec-Fetch-Site' => 'same-origin');
my $hubspot = $rig->connection('hubspot');
my $stripe = $rig->connection('stripe');
my $c = '/api/v1/connections';
my %asks_only = map { ("POST $_" => 1) } ("$c/{connection}/resync-preview",
    "$c/{connection}/diagnose", "$c/{connection}/why", "$c/{connection}/mapping/check",
    "$c/{connection}/mapping/preview", "$c/{connection}/scope/preview",
    "$c/{connection}/webhook-endpoint/test",    # a delivery that says nothing to look at
    "$c/authorize");    # answers an address; the walk that begins there has its row
my %operations;
my @operations = (
    # operation, action, path, body, what comes first; kind of the actor when it is not api
    ["POST $c", 'connection.connect', $c, {provider => 'stripe', token => Psync::STRIPE_KEY}],
    ['POST /api/v1/workspaces/{workspace}/settings', 'workspace.set',
        '/api/v1/workspaces/acme/settings', {nightly_at => '04:00'}],
    ["POST $c/{connection}/scope", 'scope.set', "$c/$hubspot/scope", {kind => 'list', id => '42'}, sub {
        runs_end();
        $rig->sim_hubspot(PUT => 'lists/42/members', {notify => $no,
            members => $rig->sim_hubspot(GET => 'companies?ids=1')});
    }],
    ["POST $c/{connection}/runs", 'run.start', "$c/$hubspot/runs", undef, \&runs_end],
    ['POST /api/v1/runs/{run}/cancel', 'run.cancel',
        sub { return '/api/v1/runs/' . $rig->value('select max(run_id) from psync.run') . '/cancel' },
        undef, sub {
            runs_end();
            $rig->fault(provider => 'hubspot', hold_ms => 3000, times => -1, regex => 'memberships');
            $rig->must('run-now', 'hubspot');
        }],
    ["POST $c/{connection}/pause", 'connection.pause', "$c/$stripe/pause", {paused => $yes}],
    ["POST $c/{connection}/pause", 'connection.resume', "$c/$stripe/pause", {paused => $no}],
    ['POST /api/v1/queue/pause', 'queue.pause', '/api/v1/queue/pause', {lane => 'nightly', paused => $yes}],
    ['POST /api/v1/queue/pause', 'queue.resume', '/api/v1/queue/pause', {lane => 'nightly', paused => $no}],
    ["POST $c/{connection}/resync", 'record.resync', "$c/$hubspot/resync",
        sub { return {record_id => $company} }, sub {
            $rig->sim(DELETE => "faults/$_->{id}") for @{$rig->faults};
            runs_end();
            $rig->sim_hubspot(PATCH => "companies/$company",
                {properties => {annualrevenue => '1,2 Mio'}});
        }],
    ['POST /api/v1/attempts/{attempt}/retry', 'record.resync',
        sub { return "/api/v1/attempts/$attempt/retry" }, undef, sub {
            $attempt = wait_for('an attempt that can be tried again', 30, sub {
                my ($row) = $rig->rows("select attempt_id::text as id from psync_bi.sync_log
                    where error_code = 'map_type_mismatch' and record_id = '$company'
                    and not resolved order by attempt_id desc limit 1");
                return $row && $row->{id};
            });
        }],
    ['POST /api/v1/attempts/retry', 'record.resync', '/api/v1/attempts/retry?errors=1', {}],
    ["POST $c/{connection}/mapping", 'mapping.apply', "$c/$hubspot/mapping", sub {
        my $shown = $rig->cmd_json('mapping', 'show', 'hubspot');
        return {based_on => $shown->{version}, note => 'a test',
            fields => [grep { $_->{field} ne 'industry' } @{$shown->{fields}}]};
    }],
    ["POST $c/{connection}/mapping/rollback", 'mapping.apply', "$c/$hubspot/mapping/rollback",
        {version => 1}],
    ["POST $c/{connection}/links", 'link.add', "$c/$stripe/links", sub {
        return {object_type => 'customer', record_id => $customer, customer_id => 0 + free_customer()};
    }, \&runs_end],
    ["DELETE $c/{connection}/links/{object_type}/{record}", 'link.remove',
        sub { return "$c/$stripe/links/customer/$customer" }],
    ["POST $c/{connection}/webhook-endpoint/repair", 'webhook.repair',
        "$c/$stripe/webhook-endpoint/repair", {anew => $yes}],
    ["POST $c/{connection}/webhook-endpoint/rotate-secret", 'webhook.rotate_secret',
        "$c/$stripe/webhook-endpoint/rotate-secret", {secret => 'whsec_' . 'n' x 32}],
    ["POST $c/{connection}/scope/confirm-removals", 'scope.confirm_removals',
        "$c/$hubspot/scope/confirm-removals", undef, sub {
            runs_end();
            $rig->sim_hubspot(PUT => 'lists/42/members', {members => [], notify => $no});
            $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
        }],
    ["POST $c/{connection}/disconnect", 'connection.disconnected', "$c/$stripe/disconnect"],
    ['POST /api/v1/session', 'session.begin', '/api/v1/session', {token => $token}, undef, 'page'],
    ['DELETE /api/v1/session', 'session.end', '/api/v1/session', undef, undef, 'page'],
);
for my $case (@operations) {
    my ($operation, $action, $path, $body, $first, $kind) = @$case;
    my ($method) = $operation =~ /^(\S+)/;
    $operations{$operation} = 1;
    $first->() if $first;
    $path = $path->() if ref $path;
    $body = $body->() if ref $body eq 'CODE';
    my $mark = audit_mark();
    my $r = call($method, $path, $body, $kind ? (%page, %session) : ());
    like $r->{status}, qr/^2/, "$method $path" or diag $r->{content};
    ($session{Cookie}) = $1 if ($r->{headers}{'set-cookie'} // '') =~ /^(psync_session=[^;]+)/;
    audited($operation, $mark, $action, $kind // 'api');
}
my $described = json->decode(Psync::text_of(Psync::root() . '/admin/openapi.json'))->{paths};
for my $path (sort keys %$described) {
    for my $method (map { uc } grep { /^(?:post|put|patch|delete)$/ } sort keys %{$described->{$path}}) {
        ok $operations{"$method $path"} || $asks_only{"$method $path"},
            "$method $path: it is known whether it changes something";
    }
}
is_deeply [grep { my ($method, $path) = split / /; !$described->{$path}{lc $method} }
        sort keys %operations, keys %asks_only], [], 'and none is known that there is not';
done_testing;
