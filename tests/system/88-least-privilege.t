#!/usr/bin/perl
# What the programs can do to their surroundings is what they need: the Redis user of the documents
# is enough for all of it and for nothing else, and every unit of systemd has its filter of calls.
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

# ---- Redis: the user as operations.md has it ----
my ($rule) = text_of("$root/docs/operations.md") =~ /^ACL SETUSER pivotal-sync (.*?)\n```/ms;
ok $rule, 'operations.md has a user for Redis';
my @rule = split ' ', $rule =~ s/\\\n/ /gr;
s/^>.*/>of-the-test/ for @rule;
my $rig = Psync->new(proxied => 1, sim => ['--companies', 20, '--list-members', 10, '--contacts',
    20, '--customers', 20]);
is $rig->redis('acl', 'setuser', 'pivotal-sync', @rule), 'OK', 'Redis takes it';
$rig->{settings}{REDIS_URL} =~ s{^redis://}{redis://pivotal-sync:of-the-test\@} or die 'no URL';
$rig->redis('acl', 'log', 'reset');

my @programs = qw(webhook-gw scheduler worker);
$rig->start(@programs);
$rig->connect_hubspot(hooks => 1);
$rig->connect_stripe(hooks => 1);
is $rig->run_now('hubspot'), 0, 'a full run of HubSpot';
is $rig->run_now('stripe'), 0, 'a full run of Stripe';
my ($customer) = map { ref $_ ? $_->{id} : $_ } @{$rig->sim_stripe(GET => 'customers?ids=1')};
$rig->sim_stripe(PATCH => "customers/$customer", {name => 'By a user of few rights'});
wait_for('a delivery becomes a row', 20, sub {
    return $rig->value("select raw::text from psync.record where record_id = '$customer'")
        =~ /By a user of few rights/;
});
for my $words (['queue', 'stats'], ['queue', 'fsck'], ['queue', 'rebuild'], ['status'],
    ['connection', 'pause', 'stripe'], ['connection', 'resume', 'stripe'],
    ['resync', 'stripe', $customer, '--wait'], ['why', $customer], ['diagnose', 'stripe']) {
    my ($code, $out, $err) = $rig->cmd(@$words);
    ok $code < 5 || $code == 6, "'@$words' works" or diag "$code: $out$err";
}
my ($code, $out) = $rig->cmd('doctor');
unlike $out, qr/NOPERM|permission/i, 'doctor asks nothing that is refused';
is $rig->redis('acl', 'log'), '', 'Redis refused nothing of all that'
    or diag $rig->redis('acl', 'log');

my $as = sub {
    my @words = @_;
    open my $pipe, '-|', 'redis-cli', '-s', $rig->dir . '/redis.sock', '--user', 'pivotal-sync',
        '--pass', 'of-the-test', '--no-auth-warning', @words or die "redis-cli: $!";
    my $text = join '', <$pipe>;
    close $pipe;
    return $text;
};
for my $words (['flushall'], ['keys', '*'], ['config', 'set', 'appendfsync', 'no'], ['shutdown'],
    ['acl', 'list'], ['get', 'of-somebody-else'], ['set', 'x', '1'],
    ['eval', 'return redis.call("get", "x")', 0], ['replicaof', 'no', 'one'], ['monitor']) {
    like $as->(@$words), qr/NOPERM|ACL failure|no permissions|can't run this|can't access/i,
        "'@$words' is refused";
}
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
