#!/usr/bin/perl
# ALERT_WEBHOOK_URL, a listener of this test's own: two schedulers tell it once when a connection
# asks for a person, when one goes stale, when the provider ends one, and when each is well again; what
# could not be told is told later, also by another scheduler than the one that died in the middle.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use Psync;
use Test::More;

my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') or die "listen: $!";
my $path = '/services/T00/B00/very-secret-path';
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $admin = "http://127.0.0.1:$port";
my $rig = Psync->new(sim => ['--companies', 5, '--contacts', 0, '--customers', 8], settings => {
    ALERT_WEBHOOK_URL => 'http://127.0.0.1:' . $listener->sockport . $path,
    ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => 'https://pivotal-sync.example.com',
    STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
    STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001',
    STRIPE_WEBHOOK_SECRET => Psync::STRIPE_SECRET});
$rig->{settings}{STRIPE_AUTHORIZE_URL} = "$rig->{stripe}/oauth/v2/authorize";
$rig->{settings}{HUBSPOT_AUTHORIZE_URL} = "$rig->{hubspot}/oauth/authorize";
my @schedulers = qw(scheduler scheduler-2);

# The next request within so many seconds: {client, path, type, text}; undef: nobody calls.
sub next_call {
    my ($seconds) = @_;
    IO::Select->new($listener)->can_read($seconds) or return;
    my $client = $listener->accept or return;
    my ($head, $body) = ('', '');
    while ($head !~ /\r\n\r\n/ && sysread $client, my $part, 4096) { $head .= $part }
    ($head, $body) = split /\r\n\r\n/, $head, 2;
    my ($length) = $head =~ /^content-length: (\d+)/mi;
    while (length $body < ($length // 0) && sysread $client, my $part, 4096) { $body .= $part }
    my ($to) = $head =~ /^POST (\S+) /;
    my ($type) = $head =~ /^content-type: (\S+)/mi;
    my $said = eval { json->decode($body) } // {};
    return {client => $client, path => $to, type => $type, text => $said->{text}, keys => [keys %$said]};
}

sub answer {
    my ($call, $status) = @_;
    my $client = $call->{client} or return;
    print {$client} "HTTP/1.1 $status Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    close $client;
    return;
}

sub told {
    my ($what, $like, $status) = @_;
    my $call = next_call(60) // {};
    answer($call, $status // 200);
    like($call->{text}, $like, $what);
    return $call;
}

sub all_sent {
    return wait_for('nothing is left to tell', 20,
        sub { $rig->value('select count(*) from psync.alert where sent_at is null') == 0 });
}

sub hurry_alerts { return $rig->value("update psync.alert set next_at = now() where sent_at is null") }

sub reconnect {
    $rig->sim(DELETE => 'faults');
    $rig->must('connection', 'connect', 'stripe', '--token-file',
        $rig->secret_file('stripe', Psync::STRIPE_KEY));
    return;
}

# Refused by the provider until reconnect(); the first resync meets it.
sub revoke {
    $rig->fault(provider => 'stripe', error => 'api-key-expired', times => -1);
    my ($customer) = map { ref $_ ? $_->{id} : $_ } @{$rig->sim_stripe(GET => 'customers?ids=1')};
    $rig->cmd('resync', 'stripe', $customer);
    return;
}

$rig->start('webhook-gw', @schedulers, 'worker');
my $id = $rig->connect_stripe;
is($rig->run_now('stripe'), 0, 'Stripe is mirrored');

# ---- a person is needed ----
revoke();
my $call = told('a connection that asks for a person is told of',
    qr/^\*acme: Stripe \(test mode\) asks for a person to sign in again\*: .*\S/);
is($call->{path}, $path, 'at the address of the setting');
is("$call->{type} @{$call->{keys}}", 'application/json text', 'in the form that Slack takes');
like($call->{text}, qr{https://pivotal-sync\.example\.com/admin/integrations/$id$},
    'with a link to its page');
my $reason = $rig->value('select state_reason from psync.connection');
like($call->{text}, qr/\Q$reason\E/, 'and the reason that the page shows');
all_sent();

# ---- and is no more ----
reconnect();
told('and of its recovery', qr/^\*acme: Stripe \(test mode\) is well again\* \(it was: reauthorize\)/);
all_sent();

# ---- stale ----
my $old = "now() - interval '3 days'";
$rig->value("update psync.connection set state_since = $old, last_full_success_at = $old,"
    . " paused_at = now()");
is(next_call(6), undef, 'one that somebody paused is no surprise');
$rig->value('update psync.connection set paused_at = null');
told('one whose full sync is too old is told of',
    qr/^\*acme: .*no full sync that is recent enough\*: the last one ended 20\d\d-/, 503);
wait_for('a refusal is kept', 20,
    sub { $rig->value('select last_error from psync.alert where sent_at is null') =~ /503/ });
is($rig->run_now('stripe'), 0, 'a full sync succeeds');
wait_for('its recovery waits behind', 20,
    sub { $rig->value('select count(*) from psync.alert where sent_at is null') == 2 });
hurry_alerts();
$call = told('both are told, the older first', qr/recent enough.*\n.*is well again/s);
all_sent();

# ---- the scheduler that tells it dies in the middle ----
revoke();
$call = next_call(60) // {};    # and no answer
like($call->{text}, qr/asks for a person/, 'somebody is about to tell');
$rig->stop('scheduler', 'KILL');
$rig->stop('scheduler-2', 'KILL');
close $call->{client} if $call->{client};
$rig->start('scheduler-3');
hurry_alerts();
told('another scheduler tells it', qr/asks for a person/);
all_sent();

# ---- once ----
$rig->start('scheduler');
reconnect();
told('the recovery', qr/is well again/);
all_sent();
is(next_call(1), undef, 'and nothing is told twice');
is($rig->value('select string_agg(condition, \' \' order by alert_id) from psync.alert'),
    'reauthorize ok full_stale ok reauthorize ok', 'one row each');
is($rig->value('select max(tries) from psync.alert'), 2, 'tried again where it was refused only');

# ---- the provider ends it ----
# As people do there: the app is taken away in Stripe, which tells so, and in HubSpot, which does not.
sub walk { return $rig->walk("$admin/oauth/$_[0]/start?workspace=acme&mode=$_[1]") }
sub state_of { return $rig->value("select state || ' ' || state_code from psync.connection
    where connection_id = $_[0]") }
{
    local $rig->{settings}{ADMIN_PUBLIC_URL} = $admin;
    $rig->start('admin');
}
wait_for('the admin service answers', 20, sub { $rig->http('GET', "$admin/livez")->{status} == 200 });
is(walk('stripe', 'test'), 200, 'Stripe is signed in to');
$rig->sim(POST => 'webhooks/config', {stripe => {url => "$rig->{gateway}/webhooks/stripe",
    secrets => [Psync::STRIPE_SECRET], connect => JSON::PP::true}});
$rig->sim_stripe(POST => 'deauthorize', {});
$call = told('an app that was taken away at Stripe is told of',
    qr/^\*acme: Stripe \(test mode\) was disconnected at the provider\*: .*\S/);
is(state_of($id), 'disconnected auth_app_uninstalled', 'as the page has it');
$reason = $rig->value("select state_reason from psync.connection where connection_id = $id");
like($call->{text}, qr/\Q$reason\E\. Connect it again: mapping, scope and history are kept\./,
    'with the reason and what to do');
like($call->{text}, qr{https://pivotal-sync\.example\.com/admin/integrations/$id$}, 'and a link');
all_sent();
is(walk('stripe', 'test'), 200, 'signed in to again');
told('its recovery', qr/^\*acme: Stripe \(test mode\) is well again\* \(it was: disconnected\)/);
all_sent();

is(walk('hubspot', 'live'), 200, 'HubSpot is signed in to');
my $hubspot = $rig->connection('hubspot');
$rig->sim_hubspot(PATCH => '', {settings => {uninstall_kills_access => JSON::PP::true}});
$rig->sim_hubspot(POST => 'uninstall', {});
$rig->cmd('resync', 'hubspot', 'company', $rig->sim_hubspot(GET => 'companies?ids=1')->[0]);
told('of one taken away at HubSpot the next call tells, and signing in is what it asks for',
    qr/^\*acme: HubSpot asks for a person to sign in again\*: .*integrations\/$hubspot$/);
is(state_of($hubspot), 'reauthorize auth_revoked', 'as the page has it');
all_sent();
is(walk('hubspot', 'live'), 200, 'signed in to again');
told('its recovery', qr/^\*acme: HubSpot is well again\* \(it was: reauthorize\)/);
all_sent();
is($rig->value('select string_agg(condition, \' \' order by alert_id) from psync.alert'),
    'reauthorize ok full_stale ok reauthorize ok disconnected ok reauthorize ok', 'once each');
is(next_call(1), undef, 'and nothing is told twice');
$rig->stop('admin');

# ---- what must not be known ----
unlike(join('', map { $rig->log_text($_) } @schedulers, 'scheduler-3'), qr/very-secret-path/,
    'the address stands in no log');
my ($code, $out) = $rig->cmd('check-config', '--print');
like($out, qr/^ALERT_WEBHOOK_URL=set \(value, \d+ bytes\)/m, 'nor where settings are shown');
unlike($out, qr/very-secret-path/, 'in no part');
$rig->stop($_) for 'scheduler', 'scheduler-3';

# ---- only https, to no private address, unless the settings say so ----
$rig->{settings}{ALLOW_PRIVATE_PROVIDER_HOSTS} = 'off';
$rig->value("update psync.connection set alerted = 'reauthorize'");
$rig->start('scheduler-4');
wait_for('plain http to this machine is refused', 30,
    sub { $rig->value('select last_error from psync.alert order by alert_id desc limit 1') ne '' });
is(next_call(0), undef, 'nobody was called');
like($rig->log_text('scheduler-4'), qr/only https.*alert\.failed/, 'and the log says why');
done_testing;
