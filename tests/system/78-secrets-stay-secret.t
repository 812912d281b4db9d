#!/usr/bin/perl
# A canary: secrets that nobody else has are given to the product, used, refused and rotated; then
# everything it leaves behind is searched for them.
use strict;
use warnings;

use File::Find qw(find);
use FindBin qw($Bin);
use lib "$Bin/lib";
use MIME::Base64 qw(encode_base64);
use Psync;
use Test::More;

my %canary = (
    'HubSpot token' => 'pat-na1-ca11a121-7c0d-4ee5-9d4e-0ddba11c0de5',
    'Stripe key' => 'rk_test_canary7c0d4ee59d4e0ddba11c0de5',
    'webhook secret' => 'whsec_canary7c0d4ee59d4e0ddba11c0de5xx',
    'client secret' => 'canary-client-secret-0ddba11c0de5',
    'sealing key' => encode_base64('canary0ddba11c0de5canary0ddba11c', ''),
);
my $rig = Psync->new(sim => [qw(--companies 6 --list-members 5 --contacts 2 --customers 5)],
    no_workspace => 1);
delete @{$rig->{settings}}{qw(SECRET_KEY HUBSPOT_CLIENT_SECRET)};
$rig->{settings}{SECRET_KEY_FILE} = $rig->secret_file('key', $canary{'sealing key'});
$rig->{settings}{HUBSPOT_CLIENT_SECRET_FILE} =
    $rig->secret_file('client', $canary{'client secret'});
$rig->{settings}{LOG_LEVEL} = 'debug';
$rig->sim_hubspot(POST => 'tokens', {token => $canary{'HubSpot token'}, kind => 'static'});
$rig->sim_stripe(POST => 'keys', {key => $canary{'Stripe key'}});
$rig->must('workspace', 'add', 'acme', '--currency', 'usd');
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(token => $canary{'HubSpot token'});
$rig->must('connection', 'connect', 'stripe', '--token-file',
    $rig->secret_file('stripe', $canary{'Stripe key'}), '--webhook-secret-file',
    $rig->secret_file('hook', $canary{'webhook secret'}));
is $rig->run_now('hubspot'), 0, 'the token serves';
is $rig->run_now('stripe'), 0, 'and the key';
my $company = $rig->value("select min(record_id) from psync.record where object_type = 'company'");
my $customer = $rig->value("select min(record_id) from psync.record where object_type = 'customer'");

# A provider that says the secret in its answer, and one that refuses it.
for my $case (['hubspot', $company, 'HubSpot token'], ['stripe', $customer, 'Stripe key']) {
    my ($provider, $id, $what) = @$case;
    my $fault = $rig->fault(provider => $provider, contains => $id, status => 400, times => 4,
        headers => {'X-Echo' => "Bearer $canary{$what}"},
        body => json->encode({status => 'error', message => "bad token $canary{$what}",
            error => {message => "bad key $canary{$what}", type => 'invalid_request_error'}}));
    $rig->cmd('resync', $provider, $id, '--wait', '--timeout', '15s');
    $rig->sim(DELETE => "faults/$fault");
}
ok $rig->value("select count(*) from psync.attempt_body where body <> ''") > 0,
    'answers that name the secret are kept';
my $rotated = encode_base64('newkey0ddba11c0de5newkey0ddba11c', '');
{
    local $rig->{settings}{SECRET_KEY_FILE} =
        $rig->secret_file('keys', "$rotated,$canary{'sealing key'}");
    is(($rig->cmd('keys', 'rotate'))[0], 0, 'the key is rotated');
}
$canary{'new sealing key'} = $rotated;
$rig->sim_hubspot(DELETE => "tokens/$canary{'HubSpot token'}");
{
    local $rig->{settings}{SECRET_KEY_FILE} = "$rig->{dir}/secret/keys";
    $rig->stop('worker');
    $rig->start('worker');
    $rig->cmd('resync', 'hubspot', $company, '--wait', '--timeout', '15s');
}

# A core file would hold them all: none is left, whatever the limit and the pattern say.
sub dumped { return $? & 128 }
system 'sh', '-c', 'ulimit -c unlimited 2>/dev/null; cd "$1" && exec perl -e \'kill ABRT => $$\'',
    'sh', $rig->dir;
note dumped() ? 'programs may leave core files here' : 'nothing may leave core files here';
unlink glob "$rig->{dir}/core*";
for my $name (qw(webhook-gw scheduler worker)) {
    my $parent = $rig->pid($name);
    for my $pid ($name eq 'worker' ? $rig->children_of($parent) : $parent) {
        open my $limits, '<', "/proc/$pid/limits" or next;
        my ($core) = grep { /^Max core file size/ } <$limits>;
        like $core, qr/^Max core file size\s+0\s+0\s/, "$name may write no core file";
    }
}
sub cores {
    my @found;
    find(sub { push @found, $File::Find::name if /^core(\.\d+)?\z/ && -f }, $rig->dir, '.');
    return "@found";
}
for my $name (qw(webhook-gw scheduler)) {
    my $status = $rig->stop($name, 'ABRT');
    is +($status // 0) & 127, 6, "$name, ended in the hard way,";
    is +($status // 0) & 128, 0, 'leaves no core';
    $rig->start($name);
}
my ($child) = $rig->children_of($rig->pid('worker'));
kill 'ABRT', $child;
wait_for('a worker that ended so is replaced', 20, sub {
    my ($next) = $rig->children_of($rig->pid('worker'));
    return $next && $next != $child;
});
is cores(), '', 'and there is no core file of any of them';

sub slurp {
    open my $f, '<:raw', $_[0] or return '';
    local $/;
    return scalar(<$f>) // '';
}
sub tree {
    my ($pid) = @_;
    return ($pid, map { tree($_) } $rig->children_of($pid));
}
my %place = ('the dump of PostgreSQL' => scalar `pg_dump --inserts '$rig->{database_url}'`);
$rig->redis('bgrewriteaof');
find(sub { $place{"the logs ($_)"} = slurp($_) if -f }, "$rig->{dir}/log");
find(sub { $place{"Redis's files ($_)"} = slurp($_) if -f }, "$rig->{dir}/redis");
for my $name (qw(webhook-gw scheduler worker)) {
    for my $pid (tree($rig->pid($name))) {
        $place{"the $_ of $name $pid"} = slurp("/proc/$pid/$_") for qw(cmdline environ);
    }
}
for my $words (['status', '-o', 'json'], ['log', '-o', 'json'], ['connection', 'show', 'hubspot'],
    ['connection', 'show', 'stripe'], ['audit']) {
    $place{"what '@$words' says"} = join '', ($rig->cmd(@$words))[1, 2];
}
cmp_ok length $place{'the dump of PostgreSQL'}, '>', 10000, 'there is a dump to search';
ok length((grep { $_ } map { $place{$_} } grep { /environ/ } keys %place)[0] // ''),
    'and environments';
for my $what (sort keys %canary) {
    my $hex = unpack 'H*', $canary{$what};
    my @found = grep {
        index($place{$_}, $canary{$what}) >= 0 || index(lc $place{$_}, $hex) >= 0
    } sort keys %place;
    is "@found", '', "the $what is nowhere to be found";
}

done_testing;
