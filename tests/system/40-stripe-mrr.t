#!/usr/bin/perl
# MRR follows whatever it depends on: prices, coupons, discounts, the policy of the workspace,
# and currencies of none, two and three decimals; and what it was worked out of is kept.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 5)]);
my $no = JSON::PP::false;
my $n = 0;

# A customer with one subscription; its name.
sub payer {
    my ($name, $price, %more) = @_;
    my $id = 'Sys' . ++$n;
    my $quantity = delete $more{quantity} // 1;
    $rig->sim_stripe(POST => 'customers', {id => "cus_$id", name => $name,
        email => "billing\@$id.example", ($more{discount} ? (discount => delete $more{discount}) : ())});
    $rig->sim_stripe(POST => 'subscriptions', {id => "sub_$id", customer => "cus_$id",
        items => [{price => $price, quantity => $quantity}], %more});
    return $id;
}

sub price {
    my ($id, $currency, $amount, %more) = @_;
    $rig->sim_stripe(POST => 'prices', {id => $id, product => 'prod_SimStarter',
        currency => $currency, unit_amount => $amount, recurring => {interval => 'month'}, %more});
    return $id;
}

sub mrr {
    my ($name) = @_;
    my ($row) = $rig->rows("select mrr, mrr_currency, mrr_by_currency from psync_bi.customer
        where name = '$name'");
    return $row;
}

sub wait_mrr {
    my ($what, $name, $mrr) = @_;
    wait_for($what, 20, sub {
        my $row = mrr($name);
        return $row && defined $row->{mrr} && $row->{mrr} == $mrr;
    }) or diag($rig->json->encode([mrr($name)]));
    return;
}

price('price_Flat', 'usd', 10000);
price('price_Tiers', 'usd', undef, billing_scheme => 'tiered', tiers_mode => 'volume',
    tiers => [{up_to => 10, unit_amount => 1000}, {up_to => 'inf', unit_amount => 500}]);
price('price_Yen', 'jpy', 1500);
price('price_Dinar', 'kwd', 12345);
$rig->sim_stripe(POST => 'coupons', {id => 'TWENTY', percent_off => 20, duration => 'forever'});
$rig->sim_stripe(POST => 'coupons',
    {id => 'HALFYEAR', percent_off => 50, duration => 'repeating', duration_in_months => 6});
$rig->sim_stripe(POST => 'coupons', {id => 'FIRST', percent_off => 50, duration => 'once'});

my $tiers = payer('Tiers', 'price_Tiers', quantity => 8);
my $coupon = payer('Coupon', 'price_Flat', discounts => [{coupon => 'TWENTY'}]);
my $own = payer('Own', 'price_Flat');
payer('Customers', 'price_Flat', discount => {coupon => 'TWENTY'});
payer('Half', 'price_Flat', discounts => [{coupon => 'HALFYEAR'}]);
payer('First', 'price_Flat', discounts => [{coupon => 'FIRST'}]);
payer('Yen', 'price_Yen', currency => 'jpy');
payer('Dinar', 'price_Dinar', currency => 'kwd');

$rig->start(qw(webhook-gw scheduler worker));
my $connection = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';
is mrr($_->[0])->{mrr}, $_->[1], "MRR of $_->[0]"
    for ['Tiers', 80], ['Coupon', 80], ['Own', 100], ['Customers', 80], ['Half', 50],
    ['First', 100];

# ---- no event of a subscription comes for any of these ----
# An event carries a price without its tiers: only what else changes with them makes one.
$rig->sim_stripe(PATCH => 'prices/price_Tiers', {nickname => 'cheaper', tiers => [
    {up_to => 10, unit_amount => 700}, {up_to => 'inf', unit_amount => 500}]});
wait_mrr('the tiers of a price change', 'Tiers', 56);
is $rig->value("select count(*) > 0 from psync.attempt where connection_id = $connection
    and record_id = 'price_Tiers' and trigger = 'webhook' and changed > 0"), 't',
    'because a delivery told of it';
$rig->sim_stripe(PATCH => 'coupons/TWENTY', {percent_off => 25});
wait_mrr('a coupon changes, and the subscription with it', 'Coupon', 75);
wait_mrr('and the customer whose own discount it is', 'Customers', 75);
is $rig->value("select count(*) from psync.attempt where connection_id = $connection
    and object_type = 'subscription' and trigger = 'webhook'"), 0,
    'without a subscription being read';
$rig->sim_stripe(PATCH => "customers/cus_$own", {discount => {coupon => 'TWENTY'}});
wait_mrr('a customer gets a discount', 'Own', 75);
$rig->sim_stripe(PATCH => "customers/cus_$own", {discount => undef});
wait_mrr('and loses it', 'Own', 100);
$rig->sim_stripe(PATCH => "subscriptions/sub_$coupon", {discounts => []});
wait_mrr('a subscription loses its discount', 'Coupon', 100);
$rig->sim_stripe(DELETE => 'coupons/TWENTY');
wait_for('a coupon is deleted', 20, sub {
    $rig->value(q{select deleted_at from psync_bi.stripe_coupon where record_id = 'TWENTY'});
});
is mrr('Customers')->{mrr}, 75, 'discounts that were given go on without it';

# ---- currencies ----
is mrr('Yen')->{mrr}, undef, 'MRR in another currency than the workspace has is not converted';
is_deeply mrr('Yen')->{mrr_by_currency}, {jpy => 1500}, 'but told';
$rig->must('workspace', 'set', 'acme', '--currency', 'jpy');
is mrr('Yen')->{mrr}, 1500, 'the yen has no minor unit';
is mrr('Yen')->{mrr_currency}, 'jpy', 'and is the currency of the workspace now';
is mrr('Own')->{mrr}, undef, 'who pays in dollars has no MRR in yen';
$rig->must('workspace', 'set', 'acme', '--currency', 'kwd');
is mrr('Dinar')->{mrr}, 12.345, 'the dinar has three decimals';
$rig->must('workspace', 'set', 'acme', '--currency', 'usd');
is mrr('Own')->{mrr}, 100, 'back in dollars';

# ---- policy ----
$rig->must('workspace', 'set', 'acme', '--mrr-subtract-recurring', 'off', '--mrr-subtract-once',
    'on');
is mrr('Half')->{mrr}, 100, 'discounts that end are not taken off any more';
is mrr('First')->{mrr}, 50, 'one-time ones are';
$rig->must('workspace', 'set', 'acme', '--mrr-subtract-recurring', 'on', '--mrr-subtract-once',
    'off');
is mrr('Half')->{mrr}, 50, 'and as it was';
is(($rig->cmd('workspace', 'set', 'acme', '--mrr-subtract-once', 'maybe'))[0], 2,
    'a switch is on or off');
is(($rig->cmd('workspace', 'set', 'acme', '--tz', 'Mars/Base'))[0], 2,
    'a time zone has to be known');
is $rig->value(q{select count(*) from psync.audit where action = 'workspace.set'}), 5,
    'the audit has each change';

# ---- why is it this value ----
my $notes = $rig->json->decode($rig->value("select notes from psync.record_link
    where connection_id = $connection and record_id = 'cus_$tiers'"));
my $item = $notes->{subscriptions}[0]{items}[0];
is $item->{price}, 'price_Tiers', 'the inputs are kept: the price';
is $item->{quantity}, '8', 'the quantity';
is $item->{monthly}, '5600', 'the monthly amount in minor units';
ok exists $notes->{subtract_once}, 'and the policy';
my $why = $rig->json->decode($rig->value("select notes from psync.record_link l
    join psync_bi.customer c using (customer_id) where c.name = 'First'"));
is $why->{subscriptions}[0]{discounts}[0]{left_out}, 'once',
    'a discount that was left out says why';

# ---- object types ----
$rig->must('connection', 'set', 'stripe', '--objects',
    'product,price,coupon,customer,subscription,charge,subscription_schedule');
is(($rig->cmd('run-now', 'stripe', '--wait', '--timeout', '240s'))[0], 0, 'other types are read');
my ($run) = $rig->rows("select objects from psync_bi.run_history
    where connection_id = $connection order by run_id desc limit 1");
is_deeply [sort keys %{$run->{objects}}],
    [qw(charge coupon customer price product subscription subscription_schedule)],
    'those that were chosen and no others';
is(($rig->cmd('connection', 'set', 'stripe', '--objects', 'customer,nonsense'))[0], 2,
    'a type that Stripe does not have is refused');
$rig->must('connection', 'set', 'stripe', '--objects', 'default');

wait_for('nothing is left to do', 20, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
