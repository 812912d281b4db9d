#!/usr/bin/perl
# While one answer of the provider is awaited, any number of deliveries for the same record cost
# at most two further calls, and the last state wins.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;
use Time::HiRes qw(time);

use constant {DELIVERIES => 1000, HOLD_S => 5};

my $rig = Psync->new(sim => [qw(--companies 4 --list-members 3 --contacts 0 --customers 3)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_stripe;
$rig->connect_hubspot;
is $rig->run_now($_), 0, "the first full sync of $_ succeeds" for qw(stripe hubspot);

my $company = $rig->sim(GET => 'hubspot/1234567/companies?list=42')->[0]{id};
my $customer = $rig->sim_stripe(GET => 'customers?ids=1')->[0];
my @cases = (
    {
        provider => 'hubspot', type => 'companies', id => $company,
        name => "select raw #>> '{properties,name}' from psync_bi.hubspot_company"
            . " where record_id = '$company'",
        change => sub {
            $rig->sim_hubspot(PATCH => "companies/$company",
                {properties => {name => $_[0]}, notify => JSON::PP::false});
        },
        delivery => sub {
            $rig->hubspot_delivery($rig->hubspot_events({objectId => 0 + $company,
                propertyName => 'name', propertyValue => 'what the event says'}));
        },
    },
    {
        provider => 'stripe', type => 'customers', id => $customer,
        name => "select raw ->> 'name' from psync_bi.stripe_customer"
            . " where record_id = '$customer'",
        change => sub {
            $rig->sim_stripe(PATCH => "customers/$customer",
                {name => $_[0], notify => JSON::PP::false});
        },
        delivery => sub {
            $rig->stripe_delivery($rig->stripe_event('customer.updated',
                {id => $customer, object => 'customer', name => 'what the event says'}));
        },
    },
);

for my $case (@cases) {
    my $provider = $case->{provider};
    wait_for("$provider: nothing is left to do", 30, sub { $rig->idle });
    my $before = $rig->calls_naming($case->{type}, $case->{id});
    my $hold = $rig->fault(provider => $provider, contains => $case->{id},
        until_released => JSON::PP::true);

    $case->{change}->('seen by the held answer');
    my ($status) = $rig->post_all($case->{delivery}->());
    is $status, 200, "$provider: a delivery is taken";
    wait_for("$provider: the worker waits for the provider's answer", 20,
        sub { $rig->held($hold) == 1 });
    my $held_at = time;
    is $rig->calls_naming($case->{type}, $case->{id}), $before + 1, "$provider: one call so far";

    # Among them the state that is to be seen at last.
    my @first = map { $case->{delivery}->() } 1 .. DELIVERIES / 2;
    my %statuses;
    $statuses{$_}++ for $rig->post_all(@first);
    $case->{change}->('the last state');
    $statuses{$_}++ for $rig->post_all(map { $case->{delivery}->() } 1 .. DELIVERIES / 2);
    is_deeply \%statuses, {200 => DELIVERIES}, "$provider: all deliveries are taken";
    Psync::until_true(HOLD_S, sub { time - $held_at >= HOLD_S });
    is $rig->calls_naming($case->{type}, $case->{id}), $before + 1,
        "$provider: and cost no call while the answer is awaited";
    $rig->sim(DELETE => "faults/$hold");

    wait_for("$provider: the row is as the provider has it", 20,
        sub { $rig->value($case->{name}) eq 'the last state' });
    wait_for("$provider: nothing is left to do", 20, sub { $rig->idle });
    my $calls = $rig->calls_naming($case->{type}, $case->{id}) - $before - 1;
    cmp_ok $calls, '<=', 2, "$provider: at most two further calls";
    cmp_ok $calls, '>=', 1, "$provider: and at least one";
    is $rig->value($case->{name}), 'the last state', "$provider: it stays so";
}
is $rig->value(q{select max(events) from psync.attempt where trigger = 'webhook'}) > 900, 1,
    'the log says how many deliveries an attempt stands for'
    or diag explain [$rig->rows('select record_id, trigger, events from psync.attempt
        where record_id is not null')];
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
