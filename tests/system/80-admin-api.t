#!/usr/bin/perl
# The admin API: who may do what, what another site cannot do, and what every resource says.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use HTTP::Tiny;
use Psync;
use Test::More;

my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $base = "http://127.0.0.1:$port";
my $rig = Psync->new(
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $base,
        STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
        STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001',
        TRUSTED_PROXIES => '127.0.0.9/32', ADMIN_IDENTITY_HEADER => 'X-Forwarded-User'},
    sim => [qw(--companies 40 --list-members 30 --contacts 20 --customers 20)],
);
$rig->start(qw(webhook-gw worker scheduler admin));
my $hubspot = $rig->connect_hubspot(hooks => 1);
my $stripe = $rig->connect_stripe(hooks => 1);
wait_for('the admin program is ready', 20,
    sub { $rig->http('GET', "$base/readyz")->{status} == 200 });

my %token;
for my $role (qw(viewer operator admin)) {
    ($token{$role}) = $rig->must('token', 'create', '--role', $role, '--name', "t-$role") =~ /(\S+)/;
}

# ---- calling ----

my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0, max_redirect => 0);

# Options: role, body, headers. Answers status, parsed body, the whole.
sub call {
    my ($method, $path, %o) = @_;
    my %headers = %{$o{headers} // {}};
    $headers{Authorization} = "Bearer $token{$o{role}}" if $o{role};
    $headers{'Content-Type'} //= 'application/json' if $o{body};
    my $r = $http->request($method, "$base$path",
        {headers => \%headers, $o{body} ? (content => json->encode($o{body})) : ()});
    my $parsed = ($r->{headers}{'content-type'} // '') =~ /json$/
        ? json->decode($r->{content}) : undef;
    return ($r->{status}, $parsed, $r);
}
sub get { return call(GET => $_[0], role => $_[1] // 'viewer') }

is $rig->run_now($_), 0, "$_ is synced" for qw(hubspot stripe);

# ---- a failing record, and one that is skipped, so that there is something to show ----

my ($company) = map { $_->{record_id} }
    $rig->rows("select record_id from psync_bi.hubspot_company where in_scope order by 1 limit 1");
$rig->sim_hubspot(PATCH => "companies/$company",
    {properties => {annualrevenue => '1,2 Mio', name => '<script>alert(1)</script>'}});
my $failed = wait_for('a value that does not fit is in the log', 30, sub {
    (get("/api/v1/attempts?connection=$hubspot&record=$company&errors=1"))[1]{items}[0];
});
is $failed->{error_code}, 'map_type_mismatch', 'with its error type';
is $failed->{error_field}, 'arr', 'and its field';

# ---- who may do what ----

my %rank = (none => 0, viewer => 1, operator => 2, admin => 3);
my @matrix = (
    ['viewer', GET => '/api/v1/session'],
    ['viewer', GET => '/api/v1/connections'],
    ['viewer', GET => "/api/v1/attempts/$failed->{attempt_id}"],
    ['viewer', GET => '/api/v1/audit'],
    ['operator', POST => "/api/v1/connections/$hubspot/runs"],
    ['operator', POST => '/api/v1/runs/1/cancel'],
    ['operator', POST => "/api/v1/connections/$hubspot/pause", {paused => JSON::PP::false}],
    ['operator', POST => '/api/v1/queue/pause', {paused => JSON::PP::false}],
    ['viewer', GET => "/api/v1/connections/$hubspot/scope/choices?kind=list"],
    ['operator', POST => "/api/v1/connections/$hubspot/resync", {record_id => $company}],
    ['operator', POST => "/api/v1/connections/$hubspot/resync-preview", {record_id => $company}],
    ['operator', POST => "/api/v1/connections/$hubspot/diagnose"],
    ['operator', POST => "/api/v1/attempts/$failed->{attempt_id}/retry"],
    ['operator', POST => '/api/v1/attempts/retry?errors=1', {dry_run => JSON::PP::true}],
    ['admin', POST => '/api/v1/connections', {provider => 'hubspot'}],
    ['admin', POST => '/api/v1/connections/authorize', {}],
    ['admin', POST => '/api/v1/connections/999999/disconnect'],
    ['admin', POST => "/api/v1/connections/$hubspot/mapping", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/mapping/check", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/mapping/preview", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/mapping/rollback", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/scope", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/scope/preview", {}],
    ['admin', POST => "/api/v1/connections/$hubspot/scope/confirm-removals"],
    ['admin', POST => "/api/v1/connections/$stripe/webhook-endpoint/repair"],
    ['operator', POST => "/api/v1/connections/$stripe/webhook-endpoint/test"],
    ['admin', POST => "/api/v1/connections/$stripe/webhook-endpoint/rotate-secret", {}],
    ['viewer', GET => '/api/v1/audit/export?format=csv'],
    ['admin', POST => "/api/v1/connections/$stripe/links", {}],
    ['admin', DELETE => "/api/v1/connections/$stripe/links/customer/cus_none"],
    ['admin', POST => '/api/v1/workspaces/acme/settings', {}],
);
for my $row (@matrix) {
    my ($needed, $method, $path, $body) = @$row;
    my ($status, $problem) = call($method, $path, $body ? (body => $body) : ());
    is $status, 401, "nobody: $method $path";
    for my $role (qw(viewer operator admin)) {
        next if $role eq 'admin' && $needed ne 'admin';
        ($status, $problem) = call($method, $path, role => $role, $body ? (body => $body) : ());
        if ($rank{$role} < $rank{$needed}) {
            is $status, 403, "$role may not $method $path";
            like $problem->{detail}, qr/this needs the role $needed/, 'and is told which role may';
        }
        else {
            ok $status != 401 && $status != 403, "$role may $method $path ($status)";
        }
    }
}
is((call(GET => '/api/v1/nothing', role => 'viewer'))[0], 404, 'an unknown resource is not found');
is((call(GET => '/api/v1/runs/zero', role => 'viewer'))[0], 404, 'nor is one whose id is none');

# ---- signing in ----

my ($status, $who, $r) = call(POST => '/api/v1/session', body => {token => $token{operator}});
is $status, 403, 'a sign-in that a form of another site could send is refused';
my %page = ('X-Pivotal-Sync' => 1, Origin => $base, 'Sec-Fetch-Site' => 'same-origin');
($status, $who, $r) = call(POST => '/api/v1/session', body => {token => $token{operator}},
    headers => {%page});
is $status, 200, 'a token signs in';
is $who->{role}, 'operator', 'with its role';
my $cookie = $r->{headers}{'set-cookie'};
like $cookie, qr/^psync_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+$/,
    'by a cookie that no script reads and no other site sends';
my ($session) = $cookie =~ /^([^;]+)/;
my %signed_in = (%page, Cookie => $session);
($status, $who) = call(GET => '/api/v1/session', headers => {%signed_in});
is "$status $who->{name}", '200 t-operator', 'which says who it is';
is $rig->value("select count(*) from psync.admin_session where encode(session_hash, 'hex') = '"
    . unpack('H*', Digest::SHA::sha256($session =~ s/.*=//r)) . "'"), 1, 'only its hash is kept';

my $run = "/api/v1/connections/$stripe/runs";
for my $bad (['another origin', Origin => 'https://evil.example'],
    ['another site', 'Sec-Fetch-Site' => 'cross-site'],
    ['a sibling', 'Sec-Fetch-Site' => 'same-site'],
    ['no header of ours', 'X-Pivotal-Sync' => undef]) {
    my ($name, $header, $value) = @$bad;
    my %h = (%signed_in, $header => $value);
    delete $h{$header} unless defined $value;
    is((call(POST => $run, headers => \%h))[0], 403, "a change by cookie from $name is refused");
}
is((call(GET => '/api/v1/connections', headers => {%signed_in, 'Sec-Fetch-Site' => 'cross-site'}))[0],
    403, 'and so is a look');
($status) = call(POST => $run, headers => {%signed_in});
ok $status == 202 || $status == 200, 'the page itself may';
is((call(POST => $run, role => 'operator', body => {a => 1},
    headers => {'Content-Type' => 'text/plain'}))[0], 415, 'a body that is not JSON is refused');
like $rig->value("select string_agg(actor || ' ' || actor_kind || ' ' || action, ',') from"
    . " psync.audit where action in ('run.start', 'session.begin')"),
    qr/t-operator page session\.begin/, 'signing in stands in the audit';

is((call(DELETE => '/api/v1/session', headers => {%signed_in}))[0], 204, 'signing out');
is((call(GET => '/api/v1/session', headers => {%signed_in}))[0], 401, 'ends the session');

($status, undef, $r) = call(POST => '/api/v1/session', body => {token => $token{viewer}},
    headers => {%page});
($session) = $r->{headers}{'set-cookie'} =~ /^([^;]+)/;
my ($viewer_id) = $rig->value("select token_id from psync.admin_token where name = 't-viewer'");
my ($spare) = $rig->must('token', 'create', '--role', 'viewer', '--name', 'spare') =~ /(\S+)/;
$rig->must('token', 'revoke', $viewer_id);
is((call(GET => '/api/v1/session', headers => {%page, Cookie => $session}))[0], 401,
    'a revoked token ends its sessions');
$token{viewer} = $spare;

# ---- a proxy that vouches ----

is((call(GET => '/api/v1/session', headers => {'X-Forwarded-User' => 'eve'}))[0], 401,
    'the identity header of somebody who is no proxy counts for nothing');
my $proxied = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port,
    LocalAddr => '127.0.0.9') or die $!;
print {$proxied} "GET /api/v1/session HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: anna\r\n",
    "Connection: close\r\n\r\n";
my $said = join '', <$proxied>;
like $said, qr/^HTTP\/1\.1 200.*"role":"viewer","name":"anna"/s, "a trusted proxy's does";

# ---- what resources say ----

my (undef, $list) = get('/api/v1/connections');
is scalar @{$list->{items}}, 2, 'two connections';
my ($one) = grep { $_->{provider} eq 'hubspot' } @{$list->{items}};
is $one->{state}, 'connected', 'with their banner';
is $one->{queue}{parked}, 0, 'and their queue';
(undef, my $detail, $r) = get("/api/v1/attempts/$failed->{attempt_id}");
is $r->{status}, 200, 'a log row is shown' or diag $r->{content};
like $detail->{explanation}{user_action}, qr/\w/, 'a log row says what to do';
is $detail->{mapping_line}{source}, 'annualrevenue', 'and shows the line of the mapping';
is $detail->{attempt}{attempt_id}, $failed->{attempt_id}, 'its id is a string';
ok @{$detail->{history}} >= 1, 'with its history';
is $r->{headers}{'cache-control'}, 'no-store', 'nothing of it is kept';
(undef, my $summary) = get("/api/v1/attempts/summary?connection=$hubspot&errors=1&group=1");
is $summary->{groups}[0]{error_code}, 'map_type_mismatch', 'errors are grouped by cause';

# pages stay put while rows arrive
(undef, my $first) = get('/api/v1/attempts?limit=5');
is scalar @{$first->{items}}, 5, 'a page has as many rows as were asked for';
(undef, my $second) = get("/api/v1/attempts?limit=5&after=$first->{next}");
cmp_ok $second->{items}[0]{attempt_id}, '<', $first->{items}[4]{attempt_id},
    'and the next one goes on after it';
is((get('/api/v1/attempts?from=yesterday'))[0], 400, 'a filter that cannot be read is told');
is((get('/api/v1/attempts?connection=1;drop'))[0], 400, 'also a number that is none');
(undef, undef, $r) = get("/api/v1/attempts/export?format=csv&record=$company");
like $r->{content}, qr/^attempt_id,started_at,.*\r\n"\d+",/s, 'the log goes into a table';
(undef, undef, $r) = get("/api/v1/attempts/export?format=jsonl&record=$company");
is json->decode((split /\n/, $r->{content})[0])->{record_id}, $company, 'or into lines';

# retry all: the numbers first
(undef, my $dry) = call(POST => "/api/v1/attempts/retry?connection=$hubspot&code=map_type_mismatch",
    role => 'operator', body => {dry_run => JSON::PP::true});
is $dry->{records}, 1, 'retry all says how many records it is about';
$rig->sim_hubspot(PATCH => "companies/$company", {properties => {annualrevenue => '1200000'}});
($status) = call(POST => "/api/v1/attempts/retry?connection=$hubspot&code=map_type_mismatch",
    role => 'operator', body => {});
is $status, 202, 'and then does it';
wait_for('which resolves the row', 30, sub {
    (get("/api/v1/attempts/$failed->{attempt_id}"))[1]{attempt}{resolved};
});
(undef, my $problem) = call(POST => "/api/v1/attempts/$failed->{attempt_id}/retry",
    role => 'operator');
is $problem->{code}, 'not_possible', 'what has succeeded cannot be retried';
is((get('/api/v1/attempts/1'))[0], 404, 'a row that vanished is not found');
is((call(POST => '/api/v1/attempts/1/retry', role => 'operator'))[0], 404, 'nor retried');

(undef, undef, $r) = get('/api/v1/audit/export?format=csv&actor=t-operator');
like $r->{content}, qr/^audit_id,at,.*\r\n"\d+",.*session\.begin/s, 'and so does what was done';
like $r->{headers}{'content-disposition'}, qr/activity\.csv/, 'as a file with a name';

# webhooks: a delivery of our own, and another secret
(undef, my $delivery) = call(POST => "/api/v1/connections/$stripe/webhook-endpoint/test",
    role => 'operator');
is "$delivery->{status} $delivery->{problem}", '200 ', 'a signed delivery of our own is taken';
(undef, my $turned) = call(POST => "/api/v1/connections/$stripe/webhook-endpoint/rotate-secret",
    role => 'admin', body => {});
ok $turned->{secret_known}, 'a secret is turned';
is $rig->value("select cardinality(webhook_secrets) from psync.credential where connection_id ="
    . " $stripe"), 2, 'and the one until now stays good';

# what a connection says of permissions, quota and a run
($one) = grep { $_->{provider} eq 'hubspot' } @{(get('/api/v1/connections'))[1]{items}};
is scalar @{$one->{scopes_needed}}, 7, 'a connection says which permissions it needs';
ok((grep { $_->{family} eq 'general' && $_->{burst} } @{$one->{quota}}), 'and what its quota is');
(undef, my $told) = get("/api/v1/runs/$one->{last_run}{run_id}");
is $told->{seen_by_type}{company}, 30, 'a run says what it has seen of each type';
is "$told->{phases} $told->{phases_done}", '3 3', 'and how many of its phases are done';
my $gate = '{ps0}:a:hubspot:1234567:live';
$rig->redis('HSET', $gate, 'cl', (time + 3600) * 1000, 'why', 'rate_limit_daily');
my (undef, $held) = get("/api/v1/connections/$hubspot");
like $held->{throttled_until}, qr/^\d{4}-.*Z$/, 'calls that are held back are told with their time';
like $held->{throttled_why}, qr/Daily quota/, 'and why';
my ($by_command) = grep { $_->{connection_id} == $hubspot } @{$rig->cmd_json('status')->{connections}};
is "$by_command->{throttled_until} $by_command->{throttled_why}", "$held->{throttled_until} $held->{throttled_why}",
    'by the command, too';
$rig->redis('HDEL', $gate, 'cl', 'why');
is((get("/api/v1/connections/$hubspot"))[1]{throttled_until}, undef, 'until they go on');

# a customer, its resync
my ($customer) = map { $_->{customer_id} }
    $rig->rows("select customer_id from psync.record_link where record_id = '$company'");
(undef, my $person) = get("/api/v1/customers/$customer");
my ($name) = grep { $_->{field} eq 'name' } @{$person->{fields}};
is $name->{value}, '<script>alert(1)</script>', 'a script in a name is only a text';
$rig->value("update psync.customer set fields = fields || '{\"industry\": \"by hand\"}'"
    . " where customer_id = $customer");
(undef, my $preview) = call(POST => "/api/v1/connections/$hubspot/resync-preview",
    role => 'operator', body => {object_type => 'company', record_id => $company});
is $preview->{changes}[0]{fields}[0]{field}, 'industry', 'a resync shows what it would change';
ok $preview->{changes}[0]{fields}[0]{edited_by_hand}, 'and what was edited by hand';
(undef, my $end) = call(POST => "/api/v1/connections/$hubspot/resync", role => 'operator',
    body => {object_type => 'company', record_id => $company});
is $end->{status}, 'succeeded', 'and then pulls it';
(undef, my $why) = call(POST => "/api/v1/connections/$hubspot/why", role => 'viewer',
    body => {record_id => 'https://app.hubspot.com/contacts/1234567/record/0-2/999999'});
like join(' ', map { $_->{verdict} } @{$why->{items}}), qr/cause$/,
    'why a record is missing is said for an address too';

# mapping
(undef, my $mapping) = get("/api/v1/connections/$hubspot/mapping");
my @fields = grep { $_->{field} ne 'industry' } @{$mapping->{fields}};
(undef, my $tried) = call(POST => "/api/v1/connections/$hubspot/mapping/preview",
    role => 'admin', body => {fields => [@fields,
        {field => 'city', source => 'city', type => 'text', convert => ''}]});
ok $tried->{valid}, 'a mapping is tried on every customer' or diag explain $tried;
(undef, my $tried_one) = call(POST => "/api/v1/connections/$hubspot/mapping/preview",
    role => 'admin', body => {customer_id => 0 + $customer, fields => [map { $_->{field} eq 'name'
        ? {%$_, source => 'domain'} : $_ } @{$mapping->{fields}}]});
is $tried_one->{customers}, 1, 'or on one';
is_deeply [map { $_->{field} } @{$tried_one->{changes}[0]{fields}}], ['name'],
    'with what would change';
is $tried_one->{now}{name}, '<script>alert(1)</script>', 'beside what it is now';
(undef, my $saved) = call(POST => "/api/v1/connections/$hubspot/mapping", role => 'admin',
    body => {fields => \@fields, based_on => $mapping->{version}, note => 'no industry'});
is $saved->{version}, $mapping->{version} + 1, 'and saved as the next version';
is((call(POST => "/api/v1/connections/$hubspot/mapping", role => 'admin',
    body => {fields => \@fields, based_on => $mapping->{version}}))[0], 409,
    'one made from an old version is not');
is((call(POST => "/api/v1/connections/$hubspot/mapping/rollback", role => 'admin',
    body => {version => $mapping->{version}}))[0], 201, 'a version comes back');
is((get("/api/v1/connections/$hubspot/mapping/versions"))[1]{items}[0]{note},
    "rolled back to version $mapping->{version}", 'as a version of its own');

# what is mirrored, by name
(undef, my $lists) = get("/api/v1/connections/$hubspot/scope/choices?kind=list");
my ($chosen) = grep { $_->{id} eq '42' } @{$lists->{items}};
is $chosen->{size}, 30, 'lists are offered with their members' or diag explain $lists;
like $chosen->{name}, qr/\w/, 'and their name';
(undef, $lists) = get("/api/v1/connections/$hubspot/scope/choices?kind=list&q=no+such+name");
is scalar @{$lists->{items}}, 0, 'by a part of it';
(undef, my $stages) = get("/api/v1/connections/$hubspot/scope/choices?kind=stage");
ok((grep { $_->{id} eq 'customer' } @{$stages->{items}}), 'or the stages there are');

# a lane that is paused
call(POST => '/api/v1/queue/pause', role => 'operator',
    body => {lane => 'nightly', paused => JSON::PP::true});
is_deeply((get('/api/v1/queue'))[1]{queue}{paused}, ['nightly'], 'a lane is paused');
call(POST => '/api/v1/queue/pause', role => 'operator', body => {paused => JSON::PP::true});
is((get('/api/v1/queue'))[1]{queue}{paused_all}, JSON::PP::true, 'or all of them');
call(POST => '/api/v1/queue/pause', role => 'operator', body => {paused => JSON::PP::false});
call(POST => '/api/v1/queue/pause', role => 'operator',
    body => {lane => 'nightly', paused => JSON::PP::false});
is_deeply((get('/api/v1/queue'))[1]{queue}{paused}, [], 'and goes on');
is $rig->value("select string_agg(action || ' ' || target, ', ' order by audit_id) from psync.audit"
    . " where action like 'queue.%'"), 'queue.resume all, queue.pause nightly, queue.pause all,'
    . ' queue.resume all, queue.resume nightly', 'which the audit knows';

# connecting by a sign-in at the provider
(undef, my $walk) = call(POST => '/api/v1/connections/authorize', role => 'admin',
    body => {provider => 'hubspot', workspace => 'acme'});
like $walk->{location}, qr{^\Q$rig->{hubspot}\E/oauth|^https://app\.hubspot\.com/oauth},
    'an admin is sent to the consent page';
is((call(GET => '/oauth/hubspot/start?workspace=acme', role => 'operator'))[0], 403,
    'an operator cannot begin a walk');
($status, undef, $r) = call(GET => '/oauth/hubspot/start?workspace=acme');
is "$status $r->{headers}{location}",
    '303 /admin/sign-in?then=/oauth/hubspot/start%3Fworkspace%3Dacme', 'nobody signs in first';

# live figures
my $events = $http->get("$base/api/v1/events", {headers => {Authorization => "Bearer $token{viewer}"}});
is $events->{headers}{'content-type'}, 'text/event-stream', 'live figures are events';
my ($id, $data) = $events->{content} =~ /^retry: \d+\nid: (\w+)\nevent: figures\ndata: (.*)\n\n$/;
is scalar @{json->decode($data)->{connections}}, 2, 'about each connection';
is $http->get("$base/api/v1/events")->{status}, 401, 'for nobody who is not signed in';

# ---- against the file that describes it ----

my %described = %{json->decode(Psync::text_of(Psync::root() . '/admin/openapi.json'))->{paths}};
for my $file (glob Psync::root() . '/admin/*.c') {
    my $text = Psync::text_of($file) =~ s/CONNECTION "/"\/api\/v1\/connections\/{connection}/gr;
    while ($text =~ m{\{"(GET|POST|DELETE)", "(/api/v1/[^"*]+)"}g) {
        ok $described{$2}{lc $1}, "$1 $2 is described" if !$described{$2}{lc $1};
    }
}


SKIP: {
    my $reason = Psync::npm_packages();
    skip "the test's packages: $reason", 1 if defined $reason;
    my %env = ($rig->environment, NPM_FOLDER => Psync::root() . '/build/npm', BASE => $base,
        TOKEN => $token{admin}, HUBSPOT => $hubspot, STRIPE => $stripe, CUSTOMER => $customer,
        COMPANY => $company, ATTEMPT => $failed->{attempt_id},
        OPENAPI => Psync::root() . '/admin/openapi.json');
    Psync::node_script(\%env, 120, Psync::root() . '/tests/npm/admin-api.mjs');
}

# ---- guessing ----

my @tries = map { (call(POST => '/api/v1/session', headers => {%page},
    body => {token => "pst_wrong$_"}))[0] } 1 .. 11;
is $tries[0], 401, 'a wrong token is refused';
is $tries[-1], 429, 'and after ten of them the address waits';
is $rig->stop($_), 0, "$_ ends well" for qw(admin worker webhook-gw scheduler);
unlike $rig->log_text('admin'), qr/pst_/, 'no token is in the log';
done_testing();
