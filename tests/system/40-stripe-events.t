#!/usr/bin/perl
# What Stripe says happened, and what it sends when it is asked: order within a second, stale
# answers, records that nobody can store, old and new API versions.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 30)]);
$rig->start(qw(webhook-gw scheduler worker));
my $connection = $rig->connect_stripe;    # deliveries are made by hand here
my $no = JSON::PP::false;
my $yes = JSON::PP::true;
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';

sub record {
    my ($type, $id) = @_;
    my ($row) = $rig->rows("select raw, deleted_at from psync.record
        where connection_id = $connection and object_type = '$type' and record_id = '$id'");
    return $row;
}

sub state_of {
    my ($type, $id) = @_;
    return $rig->value("select state from psync.record_seen where connection_id = $connection
        and object_type = '$type' and record_id = '$id'");
}

sub last_attempt { return $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt') }

sub attempts {
    my ($where) = @_;
    return $rig->rows("select attempt_id::text as id, run_id, trigger, object_type, record_id,
        status, error_code, error_message, error_field, events, resolved
        from psync_bi.sync_log where connection_id = $connection and $where order by attempt_id");
}

sub body_of {
    my ($attempt) = @_;
    return $rig->value("select body from psync.attempt_body where attempt_id = $attempt->{id}");
}

sub customer {
    my ($name) = @_;
    my ($row) = $rig->rows("select * from psync_bi.customer where name = '$name'");
    return $row;
}

sub deliver {
    my ($event) = @_;
    my $answer = $rig->deliver_stripe($event);
    return $answer->{status};
}

# ---- two events of one second, in either order ----
$rig->sim_stripe(POST => 'prices', {id => 'price_SysHundred', product => 'prod_SimStarter',
    currency => 'usd', unit_amount => 10000, recurring => {interval => 'month'}, notify => $no});
for my $order (['in order', 0, 1], ['in the other order', 1, 0]) {
    my ($how, @sequence) = @$order;
    my $tag = join '', @sequence;
    $rig->sim_stripe(POST => 'customers', {id => "cus_SysTie$tag", name => "Tie $tag",
        email => "billing\@tie$tag.example", notify => $no});
    my $sub = $rig->sim_stripe(POST => 'subscriptions', {id => "sub_SysTie$tag",
        customer => "cus_SysTie$tag", items => [{price => 'price_SysHundred'}], notify => $no});
    my $at = int(time) - 5;
    my @events = (
        $rig->stripe_event('customer.subscription.trial_will_end', {%$sub, status => 'trialing'},
            created => $at),
        $rig->stripe_event('customer.subscription.updated', {%$sub, status => 'active'},
            created => $at),
    );
    is deliver($rig->stripe_event('customer.created', {id => "cus_SysTie$tag"})), 200,
        'the customer is announced';
    is deliver($events[$_]), 200, "two events of one second $how: taken" for @sequence;
    wait_for("$how: the subscription counts as Stripe has it now", 20, sub {
        my $row = customer("Tie $tag");
        return $row && $row->{mrr} == 100 && $row->{subscription_status} eq 'active';
    });
    my @lines = attempts("record_id = 'sub_SysTie$tag'");
    cmp_ok scalar(@lines), '>=', 1, "$how: the log has the subscription";
    is_deeply [grep { $_->{status} ne 'succeeded' } @lines], [], "$how: and nothing but success";
}

# A customer and its three subscriptions at once: whoever comes last has seen all.
for my $n (1 .. 15) {
    $rig->sim_stripe(POST => 'customers', {id => "cus_SysSide$n", name => "Side $n",
        email => "billing\@side$n.example", notify => $no});
    $rig->sim_stripe(POST => 'subscriptions', {id => "sub_SysSide$n$_",
        customer => "cus_SysSide$n", items => [{price => 'price_SysHundred'}], notify => $no})
        for 1 .. 3;
}
for my $n (1 .. 15) {
    deliver($rig->stripe_event('customer.created', {id => "cus_SysSide$n"}));
    deliver($rig->stripe_event('customer.subscription.created', {id => "sub_SysSide$n$_"}))
        for 1 .. 3;
}
wait_for('what arrives side by side is added up', 20, sub {
    $rig->value("select count(*) from psync_bi.customer where name like 'Side %' and mrr = 300")
        == 15;
});

# An answer that was computed before the second change and comes after it.
my $fault = $rig->fault(provider => 'stripe', path => '/v1/subscriptions/sub_SysTie01',
    until_released => $yes);
my $tie = $rig->sim_stripe(GET => 'subscriptions/sub_SysTie01');
my $at = int time;
is deliver($rig->stripe_event('customer.subscription.updated', $tie, created => $at)), 200,
    'an event whose record is being read';
wait_for('its answer is on the way', 20, sub { $rig->held($fault) });
my $before = last_attempt();
$rig->sim_stripe(PATCH => 'subscriptions/sub_SysTie01', {status => 'past_due', notify => $no});
is deliver($rig->stripe_event('customer.subscription.updated', $tie, created => $at)), 200,
    'another of the same second';
$rig->sim(DELETE => "faults/$fault");
wait_for('the later state stays, though the stale answer came first', 20,
    sub { record('subscription', 'sub_SysTie01')->{raw}{status} eq 'past_due' });
wait_for('both reads are in the log', 20, sub {
    attempts("record_id = 'sub_SysTie01' and attempt_id > $before and status = 'succeeded'") == 2;
});

# ---- deletions of each kind that can be deleted ----
my %deleted = (
    product => 'products', price => 'prices', coupon => 'coupons', customer => 'customers',
    invoice => 'invoices');
$rig->sim_stripe(POST => 'products', {id => 'prod_SysGone', name => 'Gone', notify => $no});
$rig->sim_stripe(POST => 'prices', {id => 'price_SysGone', product => 'prod_SimStarter',
    currency => 'usd', unit_amount => 1, recurring => {interval => 'month'}, notify => $no});
$rig->sim_stripe(POST => 'coupons', {id => 'SYSGONE', percent_off => 5, duration => 'forever',
    notify => $no});
$rig->sim_stripe(POST => 'customers', {id => 'cus_SysGone', name => 'Gone', notify => $no});
$rig->sim_stripe(POST => 'invoices', {id => 'in_SysGone', customer => 'cus_SysTie01',
    status => 'draft', notify => $no});
my %id = (product => 'prod_SysGone', price => 'price_SysGone', coupon => 'SYSGONE',
    customer => 'cus_SysGone', invoice => 'in_SysGone');
deliver($rig->stripe_event("$_.created", {id => $id{$_}, object => $_})) for sort keys %id;
wait_for('five records arrive', 20, sub { !grep { !record($_, $id{$_}) } keys %id });
$rig->sim_stripe(DELETE => "$deleted{$_}/$id{$_}", {notify => $no}) for sort keys %id;
deliver($rig->stripe_event("$_.deleted", {id => $id{$_}, object => $_, deleted => $yes}))
    for sort keys %id;
for my $type (sort keys %id) {
    wait_for("a deleted $type is marked", 20, sub { record($type, $id{$type})->{deleted_at} });
    my ($line) = attempts("record_id = '$id{$type}' and error_code = 'record_deleted'");
    is $line->{status}, 'skipped', "and the log says why the $type is gone";
}

# ---- a discount has no list and no read of its own ----
$rig->sim_stripe(PATCH => 'customers/cus_SysTie10',
    {discount => {coupon => 'SIM25FOREVER'}, notify => $no});
deliver($rig->stripe_event('customer.discount.created', {id => 'di_Sys1', object => 'discount',
    customer => 'cus_SysTie10', subscription => undef, source => {coupon => 'SIM25FOREVER'}}));
wait_for('a discount of the customer is taken off', 20, sub { customer('Tie 10')->{mrr} == 75 });

# ---- test events on a live endpoint, thin events, two secrets ----
$before = last_attempt();
is deliver($rig->stripe_event('customer.updated', {id => 'cus_SysTie10'}, livemode => $yes)), 200,
    'an event of the other mode is answered 200';
my $thin = $rig->json->encode({id => 'evt_test_SysThin', object => 'v2.core.event',
    type => 'v1.customer.updated', created => '2026-11-20T12:00:00.123Z', livemode => $no,
    related_object => {id => 'cus_SysTie10', type => 'customer', url => '/v1/customers/x'}});
$rig->sim_stripe(PATCH => 'customers/cus_SysTie10', {name => 'Thin 10', notify => $no});
is deliver($thin), 200, 'a thin event is taken';
wait_for('and its customer is read', 20, sub { customer('Thin 10') });
is scalar(attempts("attempt_id > $before and record_id = 'cus_SysTie10'")), 1,
    'the one of the other mode caused no read';

# ---- records that nobody can store, beside others that are fine ----
my %bad = (
    cus_SysNul       => ['name', '"a\u0000b"', 'text_not_storable', 'a NUL'],
    cus_SysSurrogate => ['name', '"a\ud800b"', 'text_not_storable', 'half a surrogate pair'],
    cus_SysHuge      => ['balance', '123456789012345678901234567890', 'unexpected_shape',
        'a number past 64 bits'],
    cus_SysInfinite  => ['balance', '1e999', 'malformed_body', 'a number past any double'],
    cus_SysWord      => ['balance', 'nonsense', undef, 'a word where a number belongs'],
);
for my $id (sort keys %bad) {
    $rig->sim_stripe(POST => 'customers', {id => $id, name => $id, notify => $no,
        raw => {$bad{$id}[0] => $bad{$id}[1]}});
}
$rig->sim_stripe(POST => 'customers', {id => "cus_SysFine$_", name => "Fine $_", notify => $no,
    email => "billing\@fine$_.example"}) for 1 .. 3;
# A megabyte ten times over is odd and storable.
$rig->sim_stripe(POST => 'customers', {id => 'cus_SysBig', name => 'Big', notify => $no,
    description => 'x' x (10 * 1024 * 1024)});
$rig->sim_stripe(POST => 'customers', {id => 'cus_SysBigger', name => 'Bigger', notify => $no,
    description => 'y' x (10 * 1024 * 1024)});
$before = last_attempt();
my ($code) = $rig->cmd('run-now', 'stripe', '--wait', '--timeout', '240s');
is $code, 6, 'a run with records that cannot be stored says so';
for my $id (sort keys %bad) {
    my (undef, $value, $error, $what) = @{$bad{$id}};
    my ($line) = attempts("record_id = '$id' and attempt_id > $before");
    ok $line, "$what: the log has a line about the record" or next;
    is $line->{status}, 'failed', "$what: which failed";
    is $line->{error_code}, $error, "$what: for the right reason" if $error;
    like body_of($line), qr/"id": *"\Q$id\E"/, "$what: with the record as it came";
    is state_of('customer', $id), 'failing', "$what: and the record counts as failing";
}
ok record('customer', "cus_SysFine$_"), "a neighbour on the page is written ($_)" for 1 .. 3;
is length(record('customer', 'cus_SysBig')->{raw}{description}), 10 * 1024 * 1024,
    'a record of 10 MB is stored';
is length(record('customer', 'cus_SysBigger')->{raw}{description}), 10 * 1024 * 1024,
    'and another, though a page of both is too large to be read';
my ($large) = attempts("attempt_id > $before and error_code = 'body_too_large'");
is $large->{status}, 'retrying', 'which the log says, and that it is tried with a smaller one';
my @errors = attempts("attempt_id > $before and status = 'failed'");
is scalar(@errors), scalar(keys %bad), 'nothing else failed';

$rig->sim_stripe(PATCH => "customers/$_", {raw => {}, notify => $no}) for keys %bad;
is $rig->run_now('stripe'), 0, 'mended at Stripe, the next run succeeds';
is $rig->value("select count(*) from psync_bi.sync_log where status = 'failed' and not resolved
    and record_id like 'cus_Sys%'"), 0, 'and the failures are resolved';

# A page that is cut, under a length that is right.
$before = last_attempt();
$rig->fault(provider => 'stripe', path => '/v1/products', status => 200,
    body => '{"object": "list", "data": [{"id": "prod_SimStarter", "object": "prod');
is $rig->run_now('stripe'), 0, 'a page of broken JSON is asked for again';
my ($line) = attempts("attempt_id > $before and error_code = 'malformed_body'");
is $line->{status}, 'retrying', 'the log says that it is tried again';
like body_of($line), qr/prod_SimStarter/, 'and keeps what came';

# One record of wrong types, read by itself.
$before = last_attempt();
$rig->sim_stripe(PATCH => 'customers/cus_SysFine1',
    {notify => $no, raw => {name => '{"first": 1}', email => '[]', metadata => '7'}});
deliver($rig->stripe_event('customer.updated', {id => 'cus_SysFine1'}));
wait_for('a record of wrong types is stored as it is', 20,
    sub { ref record('customer', 'cus_SysFine1')->{raw}{name} });

wait_for('nothing is left to do', 20, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
