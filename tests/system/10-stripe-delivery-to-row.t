#!/usr/bin/perl
# A change at Stripe becomes a delivery, a row, a customer, its MRR and a line in the log.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 3)]);
$rig->start(qw(webhook-gw scheduler worker));
my $connection = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';

sub customer {
    my ($name) = @_;
    my ($row) = $rig->rows("select * from psync_bi.customer where name = '$name'");
    return $row;
}

sub new_customer {
    my ($id, $name) = @_;
    $rig->sim_stripe(POST => 'customers',
        {id => $id, name => $name, email => "billing\@$id.example"});
    return;
}

$rig->sim_stripe(POST => 'prices', {id => "price_Sys$_->[0]", product => 'prod_SimStarter',
    currency => 'usd', unit_amount => $_->[1], recurring => {interval => $_->[2]}})
    for ['Monthly', 4900, 'month'], ['Yearly', 120000, 'year'], ['Seat', 700, 'month'];

# ---- the row ----
new_customer('cus_SysFlat', 'Flat Ltd');
wait_for('a new customer arrives', 20, sub { customer('Flat Ltd') });
my ($row) = $rig->rows(
    "select * from psync_bi.stripe_customer where record_id = 'cus_SysFlat'");
is $row->{connection_id}, $connection, 'the row belongs to the connection';
is $row->{raw}{email}, 'billing@cus_SysFlat.example', 'the row holds what Stripe says';
is $row->{deleted_at}, undef, 'and is alive';
is customer('Flat Ltd')->{domain}, 'cus_sysflat.example',
    'the customer has the domain of the e-mail address, in lower case';
is customer('Flat Ltd')->{mrr}, 0, 'a customer that pays nothing has an MRR of 0';
is customer('Flat Ltd')->{subscription_status}, 'none', 'and no subscription';

# ---- MRR ----
my @cases = (
    # customer, name, items, discounts, MRR, what
    ['cus_SysFlat', 'Flat Ltd', [{price => 'price_SysMonthly'}], [], 49, 'a flat monthly price'],
    ['cus_SysYear', 'Year Ltd', [{price => 'price_SysYearly'}], [], 100, 'a yearly price'],
    ['cus_SysSeat', 'Seat Ltd', [{price => 'price_SysSeat', quantity => 12}], [], 84, 'seats'],
    ['cus_SysLess', 'Less Ltd', [{price => 'price_SysMonthly', quantity => 2}],
        [{coupon => 'SIM25FOREVER'}], 73.5, 'a percentage off for ever'],
);
for my $case (@cases) {
    my ($id, $name, $items, $discounts) = @$case;
    new_customer($id, $name) unless $id eq 'cus_SysFlat';
    $rig->sim_stripe(POST => 'subscriptions', {id => "sub_$id", customer => $id,
        items => $items, @$discounts ? (discounts => $discounts) : ()});
}
for my $case (@cases) {
    my ($id, $name, undef, undef, $mrr, $what) = @$case;
    wait_for("MRR of $what", 20, sub { my $c = customer($name); $c && ($c->{mrr} // 0) == $mrr })
        or diag explain customer($name);
}
my $flat = customer('Flat Ltd');
is $flat->{mrr_currency}, 'usd', 'in the currency of the workspace';
is_deeply $flat->{mrr_by_currency}, {usd => 4900}, 'with exact minor units beside';
is $flat->{payment_status}, 'ok', 'payment status';
is $flat->{subscription_status}, 'active', 'subscription status';

$rig->sim_stripe(PATCH => 'subscriptions/sub_cus_SysFlat',
    {items => [{price => 'price_SysMonthly', quantity => 3}]});
wait_for('a changed quantity changes the MRR', 20, sub { customer('Flat Ltd')->{mrr} == 147 });
$rig->sim_stripe(DELETE => 'subscriptions/sub_cus_SysFlat');
wait_for('a cancelled subscription takes it away', 20, sub {
    my $c = customer('Flat Ltd');
    return $c->{mrr} == 0 && $c->{subscription_status} eq 'canceled';
});

# ---- the log ----
my @log = $rig->rows(q{select * from psync_bi.sync_log
    where object_type = 'customer' and record_id = 'cus_SysYear' order by attempt_id});
cmp_ok scalar(@log), '>=', 1, 'the record has an attempt in the log';
is $log[0]{trigger}, 'webhook', 'which a webhook caused';
is $log[0]{kind}, 'record', 'of the kind record';
is $log[0]{status}, 'succeeded', 'and which succeeded';
is $log[0]{customer_id}, customer('Year Ltd')->{customer_id}, 'with its customer';
cmp_ok $log[0]{duration_ms}, '>=', 0, 'and its duration';
wait_for('the deliveries have receipts', 20, sub {
    $rig->value(q{select count(*) from psync.webhook_event where verdict = 'accepted'}) >= 8;
});

# ---- a delivery by hand, of the same event twice ----
$rig->sim_stripe(PATCH => 'customers/cus_SysYear', {name => 'Year AG', notify => JSON::PP::false});
my $event = $rig->stripe_event('customer.updated', {id => 'cus_SysYear', object => 'customer',
    name => 'a name that the delivery only claims'});
is $rig->deliver_stripe($event)->{status}, 200, 'a signed delivery is taken';
is $rig->deliver_stripe($event)->{status}, 200, 'and so is the same again';
wait_for('the row is what Stripe says, not what the delivery says', 20,
    sub { customer('Year AG') });
is customer('Year Ltd'), undef, 'the old name is gone';
my $provenance = $rig->value(q{select source_property from psync_bi.field_provenance p
    join psync_bi.customer c using (customer_id) where c.name = 'Year AG' and field = 'name'});
is $provenance, 'name', 'the field tells where it comes from';
wait_for('nothing is left to do', 20, sub { $rig->idle });
is $rig->value(q{select count(*) from psync.attempt where status <> 'succeeded'
    and error_code not in ('match_no_key', 'match_personal_email', 'map_currency_unmapped')}), 0,
    'nothing failed';
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');

done_testing;
