#!/usr/bin/perl
# The OAuth walk: from the command that prints where to sign in, over the provider's consent
# page, back to a connection that works; and every way in which it does not end well.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $root = abs_path(dirname(__FILE__) . '/../..');
my $bin = $ENV{BIN} // "$root/build/bin";
my $server = $ENV{PIVOTAL_SYNC_TEST_DATABASE_URL};
plan skip_all => 'needs tests/tools/with-services' unless defined $server;
for my $program ('', qw(-admin -worker -sim)) {
    plan skip_all => "no pivotal-sync$program in $bin" unless -x "$bin/pivotal-sync$program";
}
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

my $dir = tempdir('psync-oauth-XXXXXX', TMPDIR => 1, CLEANUP => 1);
# What a browser keeps: as much as HTTP::Tiny asks of one.
package Jar {
    sub new { return bless {}, shift }
    sub add { my ($self, undef, $text) = @_; $self->{$1} = $2 if $text =~ /^([^=;]+)=([^;]*)/; return }
    sub cookie_header { my ($self) = @_; return join '; ', map { "$_=$self->{$_}" } sort keys %$self }
}
sub browser {
    return HTTP::Tiny->new(timeout => 20, keep_alive => 0, max_redirect => 0, cookie_jar => Jar->new);
}
my $http = browser();
my @pids;

sub wait_until {
    my ($seconds, $condition) = @_;
    my $deadline = time + $seconds;
    while (time < $deadline) {
        my $value = $condition->();
        return $value if $value;
        sleep 0.05;
    }
    return;
}

# Output of a background program goes to $dir/NAME.log, standard output to $dir/NAME.out.
sub start {
    my ($name, @command) = @_;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDERR, '>', "$dir/$name.log" or die;
        open STDOUT, '>', "$dir/$name.out" or die;
        exec @command or die "exec: $!";
    }
    push @pids, $pid;
    return $pid;
}

sub slurp {
    open my $f, '<', $_[0] or return '';
    local $/;
    return scalar(<$f>) // '';
}

END {
    my $status = $?;
    kill 'TERM', @pids if @pids;
    for my $pid (@pids) {
        my $deadline = time + 30;
        sleep 0.05 while waitpid($pid, 1) == 0 && time < $deadline;
        kill 'KILL', $pid;
    }
    $? = $status;
}

sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!;
    return $s->sockport;
}

# ---- services, simulator, settings ----
my $database = "oauth_$$";
system('psql', '-q', $server, '-c', "create database $database") == 0 or die 'create database';
(my $url = $server) =~ s{/postgres\?}{/$database?} or die "odd url $server";
start('redis', 'redis-server', '--port', 0, '--unixsocket', "$dir/redis.sock", '--dir', $dir,
    '--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy',
    'noeviction');
start('sim', "$bin/pivotal-sync-sim", '--companies', 30, '--list-members', 20, '--contacts', 10,
    '--customers', 10);
ok wait_until(20, sub { slurp("$dir/sim.out") =~ /\n/ && -S "$dir/redis.sock" }),
    'simulator and Redis are there';
my $sim = decode_json(slurp("$dir/sim.out"));

my $admin = 'http://127.0.0.1:' . free_port();
my %settings = (
    DATABASE_URL => $url,
    REDIS_URL => "unix://$dir/redis.sock",
    SECRET_KEY => `openssl rand -base64 32` =~ s/\s+$//r,
    ADMIN_LISTEN => $admin =~ s{^http://}{}r,
    ADMIN_PUBLIC_URL => $admin,
    METRICS_LISTEN => $dir,
    HUBSPOT_API_BASE => $sim->{hubspot},
    HUBSPOT_AUTHORIZE_URL => "$sim->{hubspot}/oauth/authorize",
    HUBSPOT_CLIENT_ID => 'sim-hubspot-client',
    HUBSPOT_CLIENT_SECRET => 'sim-hubspot-secret, an-older-one',
    STRIPE_API_BASE => $sim->{stripe},
    STRIPE_AUTHORIZE_URL => "$sim->{stripe}/oauth/v2/authorize",
    STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
    STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001',
    ALLOW_PRIVATE_PROVIDER_HOSTS => 'on',
    WORKER_PROCESSES => 1,
);
$ENV{"PIVOTAL_SYNC_$_"} = $settings{$_} for keys %settings;

sub cmd {
    my $out = `$bin/pivotal-sync @_ 2>$dir/cmd.err`;
    return wantarray ? ($? >> 8, $out) : $out;
}
sub sql { my $out = `psql '$url' -Atc "$_[0]"`; chomp $out; return $out }
sub control {
    my ($method, $path, $body) = @_;
    my $r = $http->request($method, "$sim->{hubspot}/_sim/$path",
        defined $body
        ? { content => encode_json($body), headers => { 'Content-Type' => 'application/json' } }
        : {});
    die "$method $path: $r->{status} $r->{content}" unless $r->{success};
}

# ---- health ----
my $admin_pid = start('admin', "$bin/pivotal-sync-admin");
ok wait_until(20, sub { $http->get("$admin/livez")->{status} == 200 }), 'it lives at once'
    or BAIL_OUT(slurp("$dir/admin.log"));
my $ready = wait_until(10, sub {
    my $r = $http->get("$admin/readyz?verbose");
    my $j = decode_json($r->{content});
    return $j->{checks}{postgres}{ok} && $j->{checks}{redis}{ok}
        && ($j->{checks}{migrations}{reason} // '') ne 'not looked at yet' ? [$r->{status}, $j] : undef;
});
is $ready->[0], 503, 'without migrations it is not ready';
like $ready->[1]{checks}{migrations}{reason}, qr/pivotal-sync migrate/, 'and says what to do';
cmd('migrate');
ok wait_until(10, sub { $http->get("$admin/readyz")->{status} == 200 }), 'then it is ready';

# ---- who may begin a walk ----
my ($operator) = cmd('token create --role operator') =~ /(\S+)/;
my ($token) = cmd('token create --role admin --name anna') =~ /(\S+)/;
my $nobody = $http->get("$admin/oauth/hubspot/start?workspace=acme");
is "$nobody->{status} $nobody->{headers}{location}",
    '303 /admin/sign-in?then=/oauth/hubspot/start%3Fworkspace%3Dacme', 'nobody signs in first';
is $http->get("$admin/oauth/hubspot/start?workspace=acme",
    { headers => { Authorization => "Bearer $operator" } })->{status}, 403,
    'an operator may not connect';
my $as_admin = { headers => { Authorization => "Bearer $token" } };

# ---- a walk, step by step ----
cmd('workspace add acme');
my ($code, $printed) = cmd('connection connect hubspot -w acme');
is $code, 0, 'connect without a token is no error' or diag slurp("$dir/cmd.err");
is $printed, "$admin/oauth/hubspot/start?workspace=acme\n", 'it prints where to sign in';
is((cmd('connection connect hubspot -w nowhere'))[0], 3, 'an unknown workspace is not found');

sub begin { # where the browser is sent
    my $r = $http->get("$admin/oauth/$_[0]", $as_admin);
    return ($r->{status}, $r->{headers}{location} // '', $r);
}
sub consent { # from the provider's page back to our callback
    my $r = $http->get($_[0]);
    return $r->{headers}{location} // die "no consent: $r->{status} $r->{content}";
}
sub walk {
    my (undef, $location) = begin(@_);
    return $http->get(consent($location));
}

my ($status, $location) = begin('hubspot/start?workspace=acme');
is $status, 302, 'the start redirects';
like $location, qr{^\Q$sim->{hubspot}\E/oauth/authorize\?client_id=sim-hubspot-client&},
    "to the provider's page";
my ($state) = $location =~ /[?&]state=([\w-]+)/;
cmp_ok length $state, '>=', 43, 'with 256 bits of state';
my $kept = $http->{cookie_jar}{psync_walk};
is sql("select count(*) from psync.oauth_state where nonce_hash = sha256('$state."
    . substr($kept, 2) . "')"), 1, 'of which only the hash is kept, with what its browser has';
is sql('select state from psync_bi.connection_status'), 'disconnected', 'nothing is connected';

my $callback = consent($location);
like $callback, qr{^\Q$admin\E/oauth/hubspot/callback\?code=}, 'the provider sends it back';
# Somebody who sends a walk of theirs to another person's browser would connect an account of
# their own here.
my $elsewhere = browser();
for my $case (['a browser that began no walk', sub { }],
    ['a browser that began another one', sub {
        $elsewhere->get("$admin/oauth/hubspot/start?workspace=acme", $as_admin);
    }], ['a cookie that is cut short', sub {
        $elsewhere->{cookie_jar}{psync_walk} = substr $kept, 0, -1;
    }], ['state and cookie put together anew', sub {
        $elsewhere->{cookie_jar}{psync_walk} = 's.';
    }]) {
    my ($name, $prepare) = @$case;
    $prepare->();
    my $url = $name =~ /anew/ ? $callback =~ s/([?&]state=[\w-]+)/"$1." . substr $kept, 2/er : $callback;
    my $there = $elsewhere->get($url);
    is $there->{status}, 400, "$name is refused";
    like $there->{content}, qr/began in another browser/, 'and told why';
}
is sql('select state from psync_bi.connection_status'), 'disconnected', 'nothing is connected';

my $page = $http->get($callback);
is $page->{status}, 200, 'in its own browser the walk ends well all the same';
like $page->{content}, qr/HubSpot is connected.*1234567/s, 'and says with whom';
is sql("select state || ' ' || account_id from psync_bi.connection_status"),
    'connected 1234567', 'the connection is connected';
is sql("select kind || ' ' || (expires_at > now()) || ' ' || (refresh_token is not null) || ' '"
        . " || ('crm.lists.read' = any (scopes)) from psync.credential"),
    'oauth true true true', 'tokens, their end and their scopes are kept';
is sql("select actor || ' ' || actor_kind from psync.audit where action = 'connection.connect'"),
    'anna page', 'and it stands in the audit';

my $csp = $page->{headers}{'content-security-policy'};
like $csp, qr/default-src 'none'; style-src 'sha256-[^']+'; .*frame-ancestors 'none'/,
    'a page may run and fetch nothing';
is $page->{headers}{'cache-control'}, 'no-store', 'nor be kept';
unlike $page->{content}, qr/<script/i, 'and has no script';

# ---- what must not work ----
$page = $http->get($callback);
is $page->{status}, 400, 'the same return again is refused';
like $page->{content}, qr/This sign-in is over/, 'with a sentence about it';
is $http->get("$admin/oauth/hubspot/callback?code=x&state=" . 'A' x 43)->{status}, 400,
    'so is a state that was never given';
is $http->get("$admin/oauth/hubspot/callback?code=x")->{status}, 400, 'or none';
is $http->head($callback)->{status}, 405, 'a preview cannot end a walk';

my $before = sql('select version from psync.credential');
control('PATCH', 'hubspot/oauth', { deny => JSON::PP::true });
$page = walk('hubspot/start?workspace=acme');
is $page->{status}, 403, 'consent that was denied is said';
like $page->{content}, qr/Consent was not given.*oauth\/hubspot\/start\?workspace=acme/s,
    'with a link to begin again';
control('PATCH', 'hubspot/oauth', { deny => JSON::PP::false });

(undef, $location) = begin('hubspot/start?workspace=acme');
($state) = $location =~ /[?&]state=([\w-]+)/;
$page = $http->get("$admin/oauth/hubspot/callback?state=$state&error=server_error"
    . '&error_description=%3Cscript%3Ealert(1)%3C/script%3E%22%26');
is $page->{status}, 400, "another error of the provider's is said too";
like $page->{content}, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&amp;/,
    'and what it says is escaped';
is $http->get("$admin/oauth/hubspot/callback?state=$state&code=x")->{status}, 400,
    'which uses the state up';

(undef, $location) = begin('hubspot/start?workspace=acme');
($state) = $location =~ /[?&]state=([\w-]+)/;
is $http->get("$admin/oauth/stripe/callback?state=$state&code=x")->{status}, 400,
    "another provider's callback cannot use a state";
$page = $http->get("$admin/oauth/hubspot/callback?state=$state");
is $page->{status}, 400, 'a return without a code is refused';
like $page->{content}, qr/The code is missing/, 'with a sentence about it';

(undef, $location) = begin('hubspot/start?workspace=acme');
($state) = $location =~ /[?&]state=([\w-]+)/;
is $http->get("$admin/oauth/hubspot/callback?state=$state&code=forged")->{status}, 403,
    'a code that the provider does not know is refused';

control('POST', 'hubspot/accounts', { portal_id => 7654321, token => 'pat-other' });
control('PATCH', 'hubspot/oauth', { portal_id => 7654321 });
(undef, $location) = begin('hubspot/start?workspace=acme');
like $location, qr{/oauth/1234567/authorize}, 'a walk is pinned to the account it is for';
$location =~ s{/1234567/}{/};
$page = $http->get(consent($location));
is $page->{status}, 409, 'another account is refused all the same';
like $page->{content}, qr/account 7654321.*belongs to 1234567/s, 'and both are named';
is sql('select version from psync.credential'), $before, 'nothing of all this changed the token';
is sql("select state || ' ' || account_id from psync_bi.connection_status"),
    'connected 1234567', 'or the connection';

is((begin('hubspot/start?workspace=nowhere'))[0], 404, 'an unknown workspace is not found');
is((begin('paypal/start?workspace=acme'))[0], 404, 'nor an unknown provider');
is((begin('hubspot/start?workspace=acme&mode=test'))[0], 400, 'HubSpot has no test mode');
is((begin('stripe/start?workspace=acme&mode=live'))[0], 400,
    'a test key of ours connects no live account');

# ---- Stripe ----
is((cmd('connection connect stripe:test -w acme'))[1],
    "$admin/oauth/stripe/start?workspace=acme&mode=test\n", 'a mode goes into the address');
$page = walk('stripe/start?workspace=acme&mode=test');
is $page->{status}, 200, 'Stripe is connected the same way';
is sql("select state || ' ' || mode || ' ' || account_id from psync_bi.connection_status"
        . " where provider = 'stripe'"),
    'connected test acct_1SimDefault', 'in the mode of our key';

my $asked = $http->post("$admin/api/v1/connections/authorize", {
    headers => { %{$as_admin->{headers}}, 'Content-Type' => 'application/json' },
    content => encode_json({ provider => 'stripe', workspace => 'acme', mode => 'test' }) });
like $asked->{headers}{'set-cookie'},
    qr/^psync_walk=p\.[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=1800$/,
    'the page gets a cookie that comes back with the walk';
my $back = $http->get(consent(decode_json($asked->{content})->{location}));
like "$back->{status} $back->{headers}{location}",
    qr{^303 /admin/integrations/\d+\?walk=connected$}, 'a walk from the page ends on the page';

# ---- reauthorize: what waits goes on by itself ----
start('worker', "$bin/pivotal-sync-worker");
cmd('scope set hubspot list 42 -w acme');
is((cmd('run-now hubspot -w acme --wait'))[0], 0, 'a full sync runs with the tokens of a walk')
    or diag slurp("$dir/cmd.err");
my $id = sql("select min(record_id) from psync_bi.hubspot_company where in_scope");
control('POST', 'hubspot/1234567/user_removed');
control('POST', 'clock', { offset_ms => 3600 * 1000 });
cmd("resync hubspot company $id -w acme --wait --timeout 30s");
is sql("select state || ' ' || state_code from psync_bi.connection_status"
        . " where provider = 'hubspot'"),
    'reauthorize auth_revoked', 'a removed user ends in Reauthorize';
control('PATCH', "hubspot/1234567/companies/$id", { properties => { name => 'Renamed GmbH' } });
is((cmd('connection reauthorize hubspot -w acme'))[1],
    "$admin/oauth/hubspot/start?workspace=acme&mode=live\n", 'the command says where');
$page = walk('hubspot/start?workspace=acme&mode=live');
is $page->{status}, 200, 'the walk is walked again';
like $page->{content}, qr/1 waiting change is being applied/, 'what waited is counted'
    or diag $page->{content};
ok wait_until(20, sub {
    sql("select raw->'properties'->>'name' from psync.record where record_id = '$id'") eq
        'Renamed GmbH';
}), 'and goes on by itself';

# ---- what nobody ends ----
cmd('workspace add left');
control('PATCH', 'hubspot/oauth', { deny => JSON::PP::true });
is walk('hubspot/start?workspace=left')->{status}, 403, 'a first consent is denied';
is sql("select count(*) from psync.connection where account_id = ''"), 0,
    'which leaves no connection behind';
begin('hubspot/start?workspace=left');
is sql("select count(*) from psync.connection where account_id = ''"), 1,
    'a walk in progress has its row';
sql("update psync.connection set created_at = now() - interval '2 days' where account_id = ''");
start('scheduler', "$bin/pivotal-sync-scheduler");
ok wait_until(20, sub { slurp("$dir/scheduler.log") =~ /ready/ }), 'the scheduler runs';
is sql("select count(*) from psync.connection where account_id = ''"), 1,
    'which stays as long as the walk may end';
kill 'TERM', my $scheduler = pop @pids;
waitpid $scheduler, 0;
sql("update psync.oauth_state set expires_at = now() - interval '1 minute'");
start('scheduler', "$bin/pivotal-sync-scheduler");
ok wait_until(20, sub { sql("select count(*) from psync.connection where account_id = ''") eq 0 }),
    'and is cleared away when nobody ended it';
is sql('select count(*) from psync.oauth_state'), 0, 'with its state';
is sql('select count(*) from psync.connection'), 2, 'and nothing else';

# ---- figures, and the end ----
my $metrics = `curl -s --unix-socket $dir/pivotal-sync-admin.sock http://x/metrics`;
like $metrics, qr/oauth_walks_total\{provider="hubspot",end="connected"\} 2\b/,
    'walks are counted by how they ended';
# ---- every walk that must not end well, for each provider and route, first and again ----
my $at = $admin;    # of the routes, Stripe Connect has an admin program of its own below
sub went { # provider, workspace: page, callback
    my ($provider, $workspace) = @_;
    my $to = $http->get("$at/oauth/$provider/start?workspace=$workspace", $as_admin)->{headers}{location};
    $to =~ s{/\d+/authorize}{/authorize};    # a user who is not kept to the pinned account
    my $back = $http->get($to)->{headers}{location};
    return ($http->get($back), $back);
}
sub row {
    my ($provider, $workspace) = @_;
    return sql("select coalesce(string_agg(concat_ws(' ', c.state, c.account_id, k.version), ','), '')
        from psync.connection c join psync.workspace w using (workspace_id)
        left join psync.credential k using (connection_id)
        where w.name = '$workspace' and c.provider = '$provider'");
}
my %other = (hubspot => [portal_id => 7654321, 1234567], stripe => [account => 'acct_1Other',
    'acct_1SimDefault']);
control('POST', 'stripe/accounts', {account => 'acct_1Other', customers => 0});

sub refused {
    my ($provider, $workspace, $route) = @_;
    my $before = row($provider, $workspace);
    my $first = $before eq '';
    my $label = "$route, " . ($first ? 'first time' : 'again');
    control('PATCH', "$provider/oauth", {deny => JSON::PP::true});
    my ($page, $back) = went($provider, $workspace);
    control('PATCH', "$provider/oauth", {deny => JSON::PP::false});
    is $page->{status}, 403, "$label: denied consent is said";
    like $page->{content}, qr/Consent was not given/, 'in a sentence';
    is $http->get($back)->{status}, 400, 'the state of it cannot be used again';
    is row($provider, $workspace), $before, 'and nothing has changed';
    if (!$first) {
        my ($name, $there, $ours) = @{$other{$provider}};
        control('PATCH', "$provider/oauth", {$name => $there});
        ($page) = went($provider, $workspace);
        control('PATCH', "$provider/oauth", {$name => $ours});
        is $page->{status}, 409, "$label: another account is refused";
        like $page->{content}, qr/account $there.*belongs to $ours/s, 'and both are named';
        is row($provider, $workspace), $before, 'and nothing has changed';
    }
    if ($provider eq 'hubspot') {
        control('PATCH', 'hubspot/oauth',
            {withhold => ['crm.lists.read', 'crm.objects.owners.read']});
        ($page) = went($provider, $workspace);
        control('PATCH', 'hubspot/oauth', {withhold => []});
        is $page->{status}, 403, "$label: scopes that are missing are refused";
        like $page->{content}, qr/scope_missing.*crm\.lists\.read, crm\.objects\.owners\.read/s,
            'and all of them listed at once';
        is row($provider, $workspace), $before, 'and nothing has changed';
    }
    # The whole of it, and then the same once more.
    ($page, $back) = went($provider, $workspace);
    is $page->{status}, 200, "$label: with consent it is connected" or diag $page->{content};
    my $connected = row($provider, $workspace);
    like $connected, qr/^connected $other{$provider}[2] \d+$/, 'with the account';
    is $http->get($back)->{status}, 400, "$label: state and code replayed are refused";
    is row($provider, $workspace), $connected, 'and nothing has changed';
    my ($used) = $back =~ /[?&]code=([^&]+)/;
    my ($fresh) = $http->get("$at/oauth/$provider/start?workspace=$workspace", $as_admin)
        ->{headers}{location} =~ /[?&]state=([\w-]+)/;
    is $http->get("$at/oauth/$provider/callback?state=$fresh&code=$used")->{status}, 403,
        "$label: a used code with a fresh state is refused";
    if ($provider eq 'stripe') {    # which takes back what it once gave for that code
        ($page) = went($provider, $workspace);
        is $page->{status}, 200, 'after which a walk connects';
    }
    like row($provider, $workspace), qr/^connected $other{$provider}[2] \d+$/,
        'and it is connected with the account';
    return;
}
control('PATCH', 'hubspot/oauth', { portal_id => 1234567 });
cmd('workspace add walked');
refused('hubspot', 'walked', 'HubSpot') for 1 .. 2;
refused('stripe', 'walked', 'Stripe App') for 1 .. 2;
{
    my $second = 'http://127.0.0.1:' . free_port();
    local %ENV = (%ENV, PIVOTAL_SYNC_ADMIN_LISTEN => $second =~ s{^http://}{}r,
        PIVOTAL_SYNC_ADMIN_PUBLIC_URL => $second, PIVOTAL_SYNC_METRICS_LISTEN => 'off',
        PIVOTAL_SYNC_STRIPE_OAUTH => 'connect',
        PIVOTAL_SYNC_STRIPE_AUTHORIZE_URL => "$sim->{stripe}/oauth/authorize",
        PIVOTAL_SYNC_STRIPE_TOKEN_URL => "$sim->{stripe}/oauth/token");
    start('admin-connect', "$bin/pivotal-sync-admin");
    $at = $second;
    ok wait_until(20, sub { $http->get("$at/livez")->{status} == 200 }), 'the Connect route'
        or diag slurp("$dir/admin-connect.log");
    cmd('workspace add platform');
    refused('stripe', 'platform', 'Stripe Connect') for 1 .. 2;
    is sql("select (expires_at is null) || ' ' || array_to_string(scopes, ',')
        from psync.credential k join psync.connection using (connection_id)
        join psync.workspace w using (workspace_id) where w.name = 'platform'"),
        'true read_write', 'whose tokens do not expire';
    $at = $admin;
}
# A Stripe token does not say what it may do: the calls tell, by object type.
control('PATCH', 'stripe/oauth', {permissions => [qw(customer_read subscription_read plan_read
    product_read coupon_read charge_read payment_intent_read event_read)]});
(my $less) = went('stripe', 'walked');
control('PATCH', 'stripe/oauth', {permissions => undef});
is $less->{status}, 200, 'a Stripe App without one permission is connected';
# On a slow machine the Connect route took back the token in the middle of the first run, which
# goes on now; what it has read already it does not ask again.
ok wait_until(60, sub { sql("select count(*) from psync.run where finished_at is null and connection_id in
    (select connection_id from psync.connection c join psync.workspace w using (workspace_id)
    where w.name = 'walked' and c.provider = 'stripe')") eq '0' }), 'no earlier run is left to join'
    or diag slurp("$dir/scheduler.log") . slurp("$dir/worker.log");
cmd('run-now stripe -w walked --wait --timeout 60s');
is sql("select count(*) > 0 from psync.attempt a join psync.connection c using (connection_id)
    join psync.workspace w using (workspace_id) where w.name = 'walked' and c.provider = 'stripe'
    and a.object_type = 'invoice' and a.error_code = 'permission_denied'"), 't',
    'and the log says of what it may not read';
like sql("select string_agg(error_message, ' ') from psync.attempt
    where error_code = 'permission_denied'"), qr/invoice/i, 'and what is missing';
like row('stripe', 'walked'), qr/^connected/, 'which is no reason to walk again';

my $log = slurp("$dir/admin.log");
unlike $log, qr/\Q$state\E|na1-|CMSim|code=/, 'no state, code or token is in the log';
kill 'TERM', $admin_pid;
ok wait_until(20, sub { waitpid($admin_pid, 1) == $admin_pid }), 'SIGTERM ends it';
is $?, 0, 'in order';
@pids = grep { $_ != $admin_pid } @pids;

done_testing;
