#!/usr/bin/perl
# What the programs can do to their surroundings is what they need: the Redis user that the documents
# give each is enough for it and for nothing else, and every unit of systemd has its filter of calls.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Psync;
use Test::More;

my $root = Psync::root();

sub text_of {
    my ($path) = @_;
    open my $f, '<', $path or die "'$path': $!";
    local $/;
    return <$f>;
}

# ---- Redis: the users as operations.md has them ----
my %rule = text_of("$root/docs/operations.md") =~ /^ACL SETUSER psync-(\w+) (.*?[^\\])\n/msg;
is join(' ', sort keys %rule), 'admin command gateway scheduler worker', 'operations.md has a user for each';
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $page = "http://127.0.0.1:$port";
my $rig = Psync->new(proxied => 1, sim => ['--companies', 20, '--list-members', 10, '--contacts',
    20, '--customers', 20], settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $page});
for my $user (sort keys %rule) {
    my @words = split ' ', $rule{$user} =~ s/\\\n/ /gr;
    s/^>.*/>of-$user/ for @words;
    is $rig->redis('acl', 'setuser', "psync-$user", @words), 'OK', "Redis takes that of $user";
}
$rig->redis('acl', 'log', 'reset');
my ($address) = $rig->{settings}{REDIS_URL} =~ m{^redis://(.*)} or die 'no URL';

# What is started in the sub is that user.
sub as {
    my ($user, $sub) = @_;
    local $rig->{settings}{REDIS_URL} = "redis://psync-$user:of-$user\@$address";
    return $sub->();
}
my %user_of = ('webhook-gw' => 'gateway', map { $_ => $_ } qw(scheduler worker admin));
my @programs = sort keys %user_of;
for my $program (@programs) {
    as($user_of{$program}, sub { $rig->start($program) });
}
wait_for('the admin program is ready', 20, sub { $rig->http('GET', "$page/readyz")->{status} == 200 });
my $token;
as(command => sub {
    $rig->connect_hubspot(hooks => 1);
    $rig->connect_stripe(hooks => 1);
    is $rig->run_now('hubspot'), 0, 'a full run of HubSpot';
    is $rig->run_now('stripe'), 0, 'a full run of Stripe';
    ($token) = $rig->must('token', 'create', '--role', 'admin') =~ /(\S+)/;
});
my ($customer) = map { ref $_ ? $_->{id} : $_ } @{$rig->sim_stripe(GET => 'customers?ids=1')};
$rig->sim_stripe(PATCH => "customers/$customer", {name => 'By a user of few rights'});
wait_for('a delivery becomes a row', 20, sub {
    return $rig->value("select raw::text from psync.record where record_id = '$customer'")
        =~ /By a user of few rights/;
});
$rig->deliver_hubspot($rig->hubspot_events({objectId => 1}), secret => 'wrong');
as(command => sub {
    for my $words (['queue', 'stats'], ['queue', 'list', '--state', 'waiting'], ['queue', 'fsck'],
        ['queue', 'rebuild'], ['status'], ['quota'], ['worker', 'list'], ['connection', 'pause', 'stripe'],
        ['connection', 'resume', 'stripe'], ['queue', 'pause'], ['queue', 'resume'],
        ['resync', 'stripe', $customer, '--wait'], ['why', $customer], ['diagnose', 'stripe'],
        ['connection', 'disconnect', 'hubspot', '--yes']) {
        my ($code, $out, $err) = $rig->cmd(@$words);
        ok $code < 5 || $code == 6, "'@$words' works" or diag "$code: $out$err";
    }
    my ($code, $out) = $rig->cmd('doctor');
    unlike $out, qr/NOPERM|permission/i, 'doctor asks nothing that is refused';
});
my $stripe = $rig->connection('stripe');
my $of = "/api/v1/connections/$stripe";
for my $call ([GET => '/readyz?verbose'], [GET => '/api/v1/connections'], [GET => '/api/v1/queue'],
    [GET => '/api/v1/queue/units?state=waiting'], [POST => "$of/runs"], [POST => "$of/pause", '{"paused":true}'],
    [POST => "$of/pause", '{"paused":false}']) {
    my ($method, $path, $body) = @$call;
    my $r = $rig->http($method, "$page$path", headers => {Authorization => "Bearer $token",
        'Content-Type' => 'application/json'}, $method eq 'POST' ? (content => $body // '{}') : ());
    cmp_ok $r->{status}, '<', 400, "$method $path works" or diag $r->{content};
}
wait_for('nothing is left to do', 60, sub { as(command => sub { $rig->idle }) });
is $rig->redis('acl', 'log'), '', 'Redis refused nothing of all that'
    or diag $rig->redis('acl', 'log');

sub refused {
    my ($user, @words) = @_;
    open my $pipe, '-|', 'redis-cli', '-s', $rig->dir . '/redis.sock', '--user', "psync-$user",
        '--pass', "of-$user", '--no-auth-warning', @words or die "redis-cli: $!";
    my $text = join '', <$pipe>;
    close $pipe;
    return $text =~ /NOPERM|ACL failure|no permissions|can't run this|can't access/i ? 1 : 0;
}
for my $words (['flushall'], ['keys', '*'], ['scan', 0], ['config', 'set', 'appendfsync', 'no'],
    ['shutdown'], ['acl', 'list'], ['get', 'of-somebody-else'], ['set', 'x', '1'],
    ['eval', 'return redis.call("get", "x")', 0], ['replicaof', 'no', 'one'], ['monitor'],
    ['dump', '{ps0}:epoch'], ['client', 'list'], ['publish', 'x', 'y']) {
    my @let = grep { !refused($_, @$words) } sort keys %rule;
    is "@let", '', "'@$words' is refused to each";
}
# Whoever takes the gateway over can put work, and neither see what there is nor take or drop it.
for my $words (['zrange', '{ps0}:d', 0, -1], ['smembers', '{ps0}:cs'], ['hgetall', "{ps0}:u:$stripe"],
    ['xrange', '{ps0}:receipts', '-', '+'], ['blpop', '{ps0}:wake', 1], ['hdel', "{ps0}:u:$stripe", 'x'],
    ['sscan', '{ps0}:cs', 0]) {
    ok refused('gateway', @$words), "'@$words' is refused to the gateway";
}
ok refused('worker', 'xrange', '{ps0}:receipts', '-', '+'), 'a worker reads no receipts';
ok refused('admin', 'xdel', '{ps0}:receipts', '1-1'), 'the page takes none away';
ok refused('scheduler', 'zrevrangebyscore', '{ps0}:ring1', '+inf', '-inf'), 'a scheduler claims nothing';
$rig->stop($_) for @programs;

# ---- systemd: each unit through the filter ----
my $common = text_of("$root/deploy/systemd/pivotal-sync-.service.d/10-common.conf");
like $common, qr/^SystemCallFilter=\@system-service$/m, 'calls of services are let through';
like $common, qr/^SystemCallFilter=~\@privileged \@resources$/m, 'those of an administrator are not';
like $common, qr/^SystemCallArchitectures=native$/m, 'nor by another ABI';
like $common, qr/^NoNewPrivileges=yes$/m, 'and nothing gives more rights';
for my $unit (grep { !m{pivotal-sync-setup} } glob "$root/deploy/systemd/*.service") {
    my ($name) = $unit =~ m{([^/]+)$};
    unlike text_of($unit), qr/^(SystemCallFilter|NoNewPrivileges|CapabilityBoundingSet)=/m,
        "$name does not loosen it";
    like $name, qr/^pivotal-sync-/, "$name is one that it covers";
}

# ---- what it is made of ----
SKIP: {
    skip 'no dpkg-query or readelf here', 1
        if system('command -v dpkg-query readelf >/dev/null 2>&1') != 0;
    my $list = qx{$root/deploy/sbom @{[map { Psync::bin() . "/$_" } qw(pivotal-sync pivotal-sync-webhook-gw)]}};
    my %parts = map { $_->{name} => $_ } @{json->decode($list)->{components}};
    my @wanted = map { my $like = $_; (grep { /^\Q$like\E/ } sort keys %parts)[0] // "no $like" }
        qw(libhiredis libcurl libpq libjansson libuv libmicrohttpd libssl uthash preact htm);
    my @bad = grep { !$parts{$_} || $parts{$_}{version} !~ /^\d/ || !@{$parts{$_}{licenses}} } @wanted;
    is "@bad", '', 'each library is listed with its version and licence';
}
done_testing;
