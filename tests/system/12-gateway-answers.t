#!/usr/bin/perl
# What the gateway answers to deliveries of every kind (contract.md, Gateway).
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 5 --list-members 3 --contacts 0 --customers 2)],
    settings => {STRIPE_WEBHOOK_SECRET => 'whsec_app', WEBHOOK_MAX_BODY_BYTES => 65536});
$rig->start(qw(webhook-gw));

is $rig->http('GET', $rig->gateway . '/livez')->{status}, 200, 'it lives';
is $rig->http('GET', $rig->gateway . '/readyz')->{status}, 200, 'it is ready';
is $rig->http('GET', $rig->gateway . '/metrics')->{status}, 404, 'no metrics for the public';

my $connection = $rig->connect_stripe;
$rig->connect_hubspot;

sub puts { return $rig->cmd_json('queue', 'stats')->{waiting}{webhook} }

sub flip { # one byte of text, near its middle
    my ($text, $at) = @_;
    $at //= int(length($text) / 2);
    substr($text, $at, 1) = substr($text, $at, 1) eq 'x' ? 'y' : 'x';
    return $text;
}

# ---- Stripe ----
my $body = $rig->stripe_event('customer.updated', {id => 'cus_1', object => 'customer'});
my $signature = $rig->stripe_signature($body);
my $now = time;
my @refused = (
    ['without a signature', $body, signature => undef],
    ['with an empty signature', $body, signature => ''],
    ['with nonsense for a signature', $body, signature => 'v1=00,t=x'],
    ['with another secret', $body, secret => 'whsec_other'],
    ['with one byte of the body changed', flip($body), signature => $signature],
    ['with one byte more', "$body ", signature => $signature],
    ['with one byte of the signature changed', $body,
        signature => flip($signature, length($signature) - 3)],
    ['with another time than was signed', $body,
        signature => $signature =~ s/t=(\d+)/'t=' . ($1 + 1)/er],
    ['older than 300 s', $body, at => $now - 310],
    ['newer than 300 s', $body, at => $now + 320],
);
my @statuses = $rig->post_all(map { $rig->stripe_delivery(@$_[1 .. $#$_]) } @refused);
is $statuses[$_], 401, "Stripe: $refused[$_][0] is 401" for 0 .. $#refused;
is puts(), 0, 'none of them is in the queue';
is $rig->deliver_stripe($body, signature => $signature)->{status}, 200, 'Stripe: as signed is 200';
is $rig->deliver_stripe($body, at => $now - 280)->{status}, 200, '280 s old is 200';
is $rig->deliver_stripe($body, signature => "t=$now,v1=" . ('0' x 64) . ','
        . ($rig->stripe_signature($body, at => $now) =~ s/^t=\d+,//r))->{status}, 200,
    'several signatures, of which one fits, is 200';
is puts(), 1, 'and all of it is one unit of work';

is $rig->deliver_stripe('{"id": "evt_')->{status}, 400, 'Stripe: signed, not JSON: 400';
is $rig->deliver_stripe('[1]')->{status}, 400, 'Stripe: signed, no event: 400';
is $rig->deliver_stripe($rig->stripe_event('issuing_card.created', {id => 'ic_1',
    object => 'issuing.card'}))->{status}, 200, 'Stripe: nothing for us is 200';
is puts(), 1, 'and no work';
my $unknown = $rig->gateway . '/webhooks/stripe/999999';
is $rig->deliver_stripe($body, url => $unknown)->{status}, 404, 'an unknown connection is 404';
is $rig->deliver_stripe($body, url => $rig->gateway . '/webhooks/stripe/x')->{status}, 404,
    'a connection that is no number is 404';

my $app = $rig->gateway . '/webhooks/stripe';
my $connect = $rig->stripe_event('customer.updated', {id => 'cus_2', object => 'customer'},
    account => 'acct_Nobody');
is $rig->deliver_stripe($connect, url => $app, secret => 'whsec_app')->{status}, 200,
    'Stripe: an unknown account is 200';
is puts(), 1, 'and no work';
is $rig->deliver_stripe($connect, url => $app)->{status}, 401,
    "the app's endpoint does not take a connection's secret";
$connect = $rig->stripe_event('customer.updated', {id => 'cus_2', object => 'customer'},
    account => Psync::ACCOUNT);
is $rig->deliver_stripe($connect, url => $app, secret => 'whsec_app')->{status}, 200,
    'Stripe: a known account is 200';
is puts(), 2, 'and work';

# ---- HubSpot ----
$body = $rig->hubspot_events({objectId => 77, propertyName => 'name', propertyValue => 'x'});
@refused = (
    ['without a signature', $body, signature => undef],
    ['with another secret', $body, secret => 'other'],
    ['signed for another URL', $body, signed_url => $rig->gateway . '/webhooks/other'],
    ['older than 300 s', $body, at_ms => ($now - 310) * 1000],
    ['newer than 300 s', $body, at_ms => ($now + 320) * 1000],
);
@statuses = $rig->post_all(map { $rig->hubspot_delivery(@$_[1 .. $#$_]) } @refused);
is $statuses[$_], 401, "HubSpot: $refused[$_][0] is 401" for 0 .. $#refused;
{
    use Digest::SHA qw(hmac_sha256);
    use MIME::Base64 qw(encode_base64);
    my $at_ms = $now * 1000;
    my $sign = encode_base64(hmac_sha256('POST' . $rig->gateway . "/webhooks/hubspot$body$at_ms",
        Psync::HUBSPOT_SECRET), '');
    is $rig->deliver_hubspot(flip($body), at_ms => $at_ms, signature => $sign)->{status}, 401,
        'HubSpot: with one byte changed is 401';
    is $rig->deliver_hubspot($body, at_ms => $at_ms + 1, signature => $sign)->{status}, 401,
        'HubSpot: with another time than was signed is 401';
    is puts(), 2, 'none of them is in the queue';
    is $rig->deliver_hubspot($body, at_ms => $at_ms, signature => $sign)->{status}, 200,
        'HubSpot: as signed is 200';
}
is puts(), 3, 'and work';
is $rig->deliver_hubspot('{"eventId": 1}')->{status}, 400, 'HubSpot: no array is 400';
is $rig->deliver_hubspot('[{]')->{status}, 400, 'HubSpot: not JSON is 400';
is $rig->deliver_hubspot('[]')->{status}, 200, 'HubSpot: an empty array is 200';
is $rig->deliver_hubspot($rig->hubspot_events({objectId => 78, portalId => 424242}))->{status},
    200, 'HubSpot: an unknown portal is 200';
is puts(), 3, 'and no work';
is $rig->deliver_hubspot($rig->hubspot_events({objectId => 78, portalId => 424242},
    {objectId => 79}, {objectId => 79}, {objectId => 80}))->{status}, 200,
    'HubSpot: portals mixed is 200';
is puts(), 5, 'each record of ours is one unit';

# ---- paths, methods, sizes ----
is $rig->deliver_stripe('{}', url => $rig->gateway . '/webhooks/acme')->{status}, 404,
    'an unknown provider is 404';
is $rig->http('POST', $rig->gateway . '/', content => '{}')->{status}, 404,
    'an unknown path is 404';
is $rig->http('GET', $rig->gateway . '/webhooks/hubspot')->{status}, 405, 'GET is 405';
is $rig->deliver_hubspot('[' . (' ' x 70000) . ']')->{status}, 413, 'too large a body is 413';
is $rig->http('GET', $rig->gateway . '/livez', headers => {'X-Long' => 'x' x 100_000})->{status},
    431, 'too large headers are 431';

# ---- a connection that is disconnected, or has to be reauthorized ----
$rig->must('connection', 'disconnect', 'stripe', '--yes');
Psync::until_true(10, sub {
    $rig->deliver_stripe($rig->stripe_event('customer.updated',
        {id => 'cus_3', object => 'customer'}))->{status} == 200;
});
is $rig->deliver_stripe($rig->stripe_event('customer.updated',
    {id => 'cus_4', object => 'customer'}))->{status}, 200, 'disconnected: 200';
$rig->value("update psync.connection set state = 'reauthorize', version = version + 1
    where provider = 'hubspot'");
my $before = puts();
is $rig->deliver_hubspot($rig->hubspot_events({objectId => 90}))->{status}, 200,
    'to be reauthorized: 200';
is puts(), $before + 1, 'and queued';

is $rig->stop('webhook-gw'), 0, 'SIGTERM ends it with 0';
my $log = $rig->log_text('webhook-gw');
unlike $log, qr/whsec_|sim-hubspot-secret/, 'no secret is in its log';
done_testing;
