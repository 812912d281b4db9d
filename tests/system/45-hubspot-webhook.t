#!/usr/bin/perl
# The subscriptions of our app, of an app that has the API for them: looked at, mended, watched.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
use constant KEY => 'sim-hubspot-developer-key';
my $rig = Psync->new(sim => ['--companies', 20, '--list-members', 20, '--contacts', 10,
    '--customers', 0], settings => {HUBSPOT_DEVELOPER_KEY => KEY});
$rig->sim(POST => 'webhooks/config', {hubspot => {subscriptions => 'listed'}});
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';
my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

sub status {
    my ($code, $out, $err) = $rig->cmd('webhook', 'status', 'hubspot', '-o', 'json');
    return ($code, $out ne '' ? $rig->json->decode($out) : {problem => $err});
}

# Somebody at HubSpot: the app's own API.
sub app {
    my ($method, $path, $body) = @_;
    my $r = $rig->http($method, "$rig->{hubspot}/webhooks/v3/1160452/$path?hapikey=" . KEY,
        $body ? (content => $rig->json->encode($body),
            headers => {'Content-Type' => 'application/json'}) : ());
    return ($r->{content} // '') ne '' ? $rig->json->decode($r->{content}) : undef;
}

sub subscriptions {
    return map { $_->{eventType} . ($_->{propertyName} ? " $_->{propertyName}" : '') => $_ }
        @{app(GET => 'subscriptions')->{results}};
}

sub arrives {
    my ($what, $id, $name) = @_;
    $rig->sim_hubspot(PATCH => "companies/$id", {properties => {name => $name}});
    return wait_for($what, 20, sub {
        $rig->value("select name from psync_bi.hubspot_company where record_id = '$id'") eq $name;
    });
}

# ---- nothing is set ----
my ($code, $state) = status();
is $code, 6, 'an app without an address is not well';
like $state->{problem}, qr/no address/, 'and that is said';
$rig->must('webhook', 'repair', 'hubspot');
is app(GET => 'settings')->{targetUrl}, "$rig->{gateway}/webhooks/hubspot",
    'repairing sets the address, one for all accounts';
my %has = subscriptions();
ok $has{$_} && $has{$_}{active}, "subscribed to $_"
    for (map { my $type = $_; map { "$type.$_" } qw(creation deletion merge restore associationChange) }
        qw(company contact)), 'contact.privacyDeletion',
    (map { "company.propertyChange $_" } qw(name domain tier annualrevenue lifecyclestage)),
    'contact.propertyChange email';
my $fields = $rig->cmd_json('mapping', 'show', 'hubspot')->{fields};
is_deeply [grep { !$has{"company.propertyChange $_"} } grep { $_ ne 'createdate' }
        map { $_->{source} } @$fields], [], 'one for each mapped property';
is_deeply [grep { /lastmodifieddate/ } keys %has], [], 'none that HubSpot refuses';
my $count = keys %has;
is scalar @{app(GET => 'subscriptions')->{results}}, $count, 'and each once';
($code, $state) = status();
is $code, 0, 'then all is well';
is $state->{problem}, '', 'and nothing is said';
is $rig->value("select count(*) from psync.audit where action = 'webhook.repair'"), 1,
    'the audit has it';
arrives('what it delivers arrives', $members[0], 'By subscription');
$rig->must('webhook', 'repair', 'hubspot');
is scalar(@{app(GET => 'subscriptions')->{results}}), $count, 'repairing what is well adds nothing';

# ---- one is switched off ----
my $name = $has{'company.propertyChange name'};
app(PATCH => "subscriptions/$name->{id}", {active => $no});
($code, $state) = status();
is $code, 6, 'a subscription that somebody switched off is noticed';
like $state->{problem}, qr/^1 subscription of the app is switched off$/, 'and counted';
is $state->{missing}, 'company.propertyChange name', 'and named';
# A change of five minutes ago, of which nobody was told: no more on its way, and not fetched since.
$rig->value("update psync.record_seen set fetched_at = now() - interval '1 hour'
    where record_id = '$members[1]'");
$rig->sim(POST => 'clock', {offset_ms => -300_000});
$rig->sim_hubspot(PATCH => "companies/$members[1]", {properties => {name => 'Unheard'}});
$rig->sim(POST => 'clock', {offset_ms => 0});
$rig->must('queue', 'rebuild');
wait_for('the catch-up that finds what was missed says so in the log', 20, sub {
    $rig->value(q{select error_message from psync_bi.sync_log
        where error_code = 'wh_subscription_off' order by attempt_id desc limit 1})
        eq '1 subscription of the app is switched off';
});
is $rig->value(q{select channel_state from psync.connection}), 'stale', 'and the channel is stale';
is $rig->value(q{select state from psync.connection}), 'connected', 'the banner stays';
$rig->must('webhook', 'repair', 'hubspot');
ok {subscriptions()}->{'company.propertyChange name'}{active}, 'repaired it is on again';
is scalar(@{app(GET => 'subscriptions')->{results}}), $count, 'the same one, not another';
arrives('and delivers', $members[2], 'Heard again');

# ---- one is deleted, the address changed, all settings deleted ----
app(DELETE => "subscriptions/$has{'contact.privacyDeletion'}{id}");
($code, $state) = status();
like $state->{problem}, qr/^1 subscription of the app is missing$/, 'a deleted one is noticed';
app(PUT => 'settings', {targetUrl => 'https://elsewhere.example/hook',
    throttling => {maxConcurrentRequests => 10}});
($code, $state) = status();
like $state->{problem}, qr{another address: https://elsewhere\.example/hook},
    'so is another address';
$rig->must('webhook', 'repair', 'hubspot');
is((status())[0], 0, 'one repair mends both');
arrives('deliveries arrive', $members[3], 'At home again');
app(DELETE => 'settings');
like((status())[1]{problem}, qr/no address/, 'settings that were deleted are noticed');
$rig->must('webhook', 'repair', 'hubspot');
arrives('and made again', $members[4], 'Made again');

# ---- a newly mapped property ----
$rig->sim_hubspot(POST => 'properties/companies', {name => 'csm', type => 'string',
    fieldType => 'text'});
my $mapping = $rig->secret_file('mapping.json', $rig->json->encode({fields => [@$fields,
    {field => 'csm', source => 'csm', type => 'text', convert => ''}]}));
$rig->must('mapping', 'apply', 'hubspot', $mapping);
($code, $state) = status();
is $state->{missing}, 'company.propertyChange csm', 'a newly mapped property wants its own';
$rig->must('webhook', 'repair', 'hubspot');
is((status())[0], 0, 'and gets it');

# ---- an app that has all the subscriptions it can have ----
app(DELETE => "subscriptions/$has{'company.merge'}{id}");
my $full = $rig->fault(provider => 'hubspot', path => '/webhooks/', method => 'POST',
    error => 'subscription-limit', times => -1);
my ($limit, undef, $said) = $rig->cmd('webhook', 'repair', 'hubspot');
isnt $limit, 0, 'where no subscription can be added, repairing fails';
like $said, qr/invalid_request.*1000/s, 'and repeats what HubSpot says';
$rig->sim(DELETE => "faults/$full");
$rig->must('webhook', 'repair', 'hubspot');
is((status())[0], 0, 'and goes well when it can');

# ---- other paths of the same API ----
for my $version ('v3', '2026-09') {
    local $rig->{settings}{HUBSPOT_API_VERSION} = $version;
    is((status())[0], 0, "paths of $version");
}

# ---- a delivery of our own ----
my ($exit, $out) = $rig->cmd('webhook', 'test', 'hubspot', '-o', 'json');
is $exit, 0, 'a test delivery is taken';
is $rig->json->decode($out)->{status}, 200, 'with 200';
wait_for('and stands among the deliveries', 20, sub {
    $rig->value(q{select verdict from psync.webhook_event where event_type = 'pivotal_sync.test'})
        eq 'ignored';
});
{
    local $rig->{settings}{HUBSPOT_CLIENT_SECRET} = 'another';
    ($exit, $out) = $rig->cmd('webhook', 'test', 'hubspot', '-o', 'json');
    is $exit, 6, 'signed with another secret it is not';
    like $rig->json->decode($out)->{problem}, qr/signature is refused/, 'which is said';
    # While it is being changed the gateway has both.
    $rig->stop('webhook-gw');
    $rig->{settings}{HUBSPOT_CLIENT_SECRET} = 'another,' . Psync::HUBSPOT_SECRET;
    $rig->start('webhook-gw');
    is(($rig->cmd('webhook', 'test', 'hubspot'))[0], 0, 'with both secrets set the new one is taken');
    arrives('and so is the old one, with which HubSpot still signs', $members[5], 'Two secrets');
}
is(($rig->cmd('webhook', 'rotate-secret', 'hubspot'))[0], 2,
    'the secret is that of the app: it cannot be changed from here');

# ---- a key that HubSpot refuses, none at all ----
{
    local $rig->{settings}{HUBSPOT_DEVELOPER_KEY} = 'wrong-developer-key';
    my ($refused, undef, $err) = $rig->cmd('webhook', 'status', 'hubspot');
    is $refused, 10, 'a refused developer key is a matter of settings';
    like $err, qr/auth_client_rejected/, 'and said';
    unlike $err, qr/wrong-developer-key/, 'without the key';
    is $rig->value(q{select state from psync.connection}), 'connected',
        'the connection has nothing to do with it';
    local $rig->{settings}{HUBSPOT_DEVELOPER_KEY} = undef;
    my ($none, $said, $also) = $rig->cmd('webhook', 'status', 'hubspot');
    is $none, 0, 'without a key there is nothing to ask';
    like $said . $also, qr/HUBSPOT_DEVELOPER_KEY/, 'and what it would take is said';
}
is $rig->value(q{select count(*) from psync.attempt_body where url like '%} . KEY . q{%'}), 0,
    'the key is in no kept address';
wait_for('nothing is left to do', 20, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
