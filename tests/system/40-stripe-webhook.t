#!/usr/bin/perl
# The endpoint at Stripe: made, mended and watched by calls; its deliveries arrive.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 5)]);
my $no = JSON::PP::false;
$rig->start(qw(webhook-gw scheduler worker));
$rig->must('connection', 'connect', 'stripe', '--token-file',
    $rig->secret_file('stripe', Psync::STRIPE_KEY));
my $connection = $rig->connection('stripe');
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';

sub status {
    my ($code, $out) = $rig->cmd('webhook', 'status', 'stripe', '-o', 'json');
    return ($code, $rig->json->decode($out));
}

sub endpoints { return @{$rig->sim_stripe(GET => 'webhook_endpoints')} }

sub arrives {
    my ($what, $name) = @_;
    $rig->sim_stripe(POST => 'customers', {name => $name, email => "billing\@$name.example"});
    return wait_for($what, 20, sub {
        $rig->value("select count(*) from psync_bi.customer where name = '$name'");
    });
}

# ---- made ----
my ($code, $state) = status();
is $code, 6, 'without an endpoint the status is not well';
like $state->{problem}, qr/no endpoint/, 'and says what is missing';
$rig->must('webhook', 'repair', 'stripe');
my ($made, @more) = endpoints();
is scalar(@more), 0, 'one endpoint was made';
is $made->{url}, "$rig->{gateway}/webhooks/stripe/$connection", 'with the address of the gateway';
is $made->{api_version}, '2026-10-28.endive', 'with our API version';
my %events = map { $_ => 1 } @{$made->{enabled_events}};
ok $events{$_}, "with $_"
    for qw(customer.deleted customer.subscription.updated customer.discount.deleted
    price.updated coupon.deleted invoice.paid account.application.deauthorized);
ok !$events{$_}, "without $_" for qw(* charge.succeeded plan.updated invoice.upcoming);
($code, $state) = status();
is $code, 0, 'then all is well';
arrives('what it delivers arrives: the secret is known', 'made');
is $rig->value("select count(*) from psync.audit where action = 'webhook.repair'"), 1,
    'the audit has it';
unlike $rig->value("select encode(webhook_secrets[1], 'escape') from psync.credential
    where connection_id = $connection"), qr/whsec_/, 'the secret is stored sealed';
$rig->must('webhook', 'repair', 'stripe');
is scalar(endpoints()), 1, 'repairing what is well changes nothing';

# ---- disabled: switched on again, and what was missed is found ----
$rig->sim_stripe(PATCH => "webhook_endpoints/$made->{id}", {status => 'disabled'});
($code, $state) = status();
like $state->{problem}, qr/disabled/, 'a disabled endpoint is noticed';
$rig->sim_stripe(POST => 'customers',
    {name => 'missed', email => 'billing@missed.example', notify => $no});
$rig->must('webhook', 'repair', 'stripe');
is((endpoints())[0]{status}, 'enabled', 'it is switched on again');
wait_for('what happened meanwhile is caught up with', 20, sub {
    $rig->value("select count(*) from psync_bi.customer where name = 'missed'");
});
arrives('deliveries go on', 'again');

# ---- other object types, another version ----
$rig->must('connection', 'set', 'stripe', '--objects',
    'product,price,coupon,customer,subscription,charge');
($code, $state) = status();
like $state->{problem}, qr/event types/, 'it has to follow the mirrored objects';
like $state->{missing}, qr/charge\.succeeded/, 'and what is missing is named';
$rig->must('webhook', 'repair', 'stripe');
%events = map { $_ => 1 } @{(endpoints())[0]{enabled_events}};
ok $events{'charge.succeeded'}, 'charges are delivered then';
ok !$events{'invoice.paid'}, 'and invoices are not';
$rig->sim_stripe(PATCH => "webhook_endpoints/$made->{id}", {api_version => '2023-08-16'});
($code, $state) = status();
like $state->{problem}, qr/2023-08-16/, 'an old version is noticed';
$rig->must('webhook', 'repair', 'stripe');
my @now = endpoints();
is scalar(@now), 1, 'a version cannot be changed: another endpoint takes its place';
isnt $now[0]{id}, $made->{id}, 'with another id';
arrives('and its deliveries are known', 'anew');
$rig->sim_stripe(PATCH => "webhook_endpoints/$now[0]{id}", {api_version => undef});
($code, $state) = status();
like $state->{problem}, qr/no API version of its own.*should have '2026-10-28\.endive'/,
    'that it follows the account\'s version is said as such';
$rig->must('webhook', 'repair', 'stripe');
@now = endpoints();
is $now[0]{api_version}, '2026-10-28.endive', 'and mended';

# ---- more than is needed ----
for my $types (['*'], [@{$now[0]{enabled_events}}, 'payout.paid']) {
    $rig->sim_stripe(PATCH => "webhook_endpoints/$now[0]{id}", {enabled_events => $types});
    ($code, $state) = status();
    is "$code $state->{problem}$state->{missing}", '0 ', "$types->[-1]: nothing is missed, so all is well";
    ok $state->{events_ok}, 'as the page reads it';
}
$rig->must('webhook', 'repair', 'stripe', '--new');
@now = endpoints();
ok !(grep { $_ eq 'payout.paid' } @{$now[0]{enabled_events}}), 'a new one gets no more than is needed';

# ---- deleted ----
$rig->sim_stripe(DELETE => "webhook_endpoints/$now[0]{id}");
($code, $state) = status();
like $state->{problem}, qr/no endpoint/, 'a deleted endpoint is noticed';
$rig->must('webhook', 'repair', 'stripe');
arrives('and made again', 'deleted');


# ---- a delivery of our own ----
($code, my $said) = $rig->cmd('webhook', 'test', 'stripe', '-o', 'json');
is $code, 0, 'a test delivery is taken';
is $rig->json->decode($said)->{status}, 200, 'with 200';
wait_for('and stands among the deliveries', 20, sub {
    $rig->value(q{select verdict from psync.webhook_event where event_type = 'pivotal_sync.test'})
        eq 'ignored';
});
$rig->stop('webhook-gw');
($code, $said) = $rig->cmd('webhook', 'test', 'stripe');
is $code, 6, 'with nobody there it is not';
$rig->start('webhook-gw');

# ---- another secret: made anew, or rolled at Stripe ----
sub secrets {
    return $rig->value("select cardinality(webhook_secrets) from psync.credential
        where connection_id = $connection");
}
for my $case (['repair --new', 'webhook', 'repair', 'stripe', '--new'],
    ['rotate-secret', 'webhook', 'rotate-secret', 'stripe']) {
    my ($what, @words) = @$case;
    my ($old) = endpoints();
    $rig->must(@words);
    my ($new, @others) = endpoints();
    is scalar(@others), 0, "$what: one endpoint as before";
    isnt $new->{id}, $old->{id}, "$what: and it is another";
    is secrets(), 2, "$what: the secret until now is kept beside the new one";
    is((status())[0], 0, "$what: all is well");
    is(($rig->cmd('webhook', 'test', 'stripe'))[0], 0, "$what: the new secret is known");
    arrives("$what: what it delivers arrives", $what =~ s/\W//gr);
}
my $rolled = 'whsec_systemtestsrolled0000000000001';
is $rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_x'}),
    secret => $rolled, url => "$rig->{gateway}/webhooks/stripe/$connection")->{status}, 401,
    'a secret that was rolled at Stripe is not known yet';
$rig->must('webhook', 'rotate-secret', 'stripe', '--secret-file',
    $rig->secret_file('rolled', $rolled));
is $rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_x'}),
    secret => $rolled, url => "$rig->{gateway}/webhooks/stripe/$connection")->{status}, 200,
    'given by a file it is';
arrives('and the one until now is good as well', 'rolled');
is $rig->value(q{select string_agg(distinct action, ' ' order by action) from psync.audit
    where action like 'webhook.%'}), 'webhook.repair webhook.rotate_secret', 'the audit has all of it';
is $rig->value(q{select count(*) from psync.audit where detail::text like '%whsec%'
    or target like '%whsec%'}), 0, 'without a secret';

done_testing;
