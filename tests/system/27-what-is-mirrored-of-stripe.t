#!/usr/bin/perl
# What is mirrored of Stripe can be narrowed to products or lookup keys: other subscriptions are
# not mirrored, do not count, and make no customers; the log says why; all of it comes back.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 0)]);
my %cents = (Starter => 4900, Growth => 1250);
for my $name (sort keys %cents) {
    $rig->sim_stripe(POST => 'products', {id => "prod_$name", name => "The $name"});
    $rig->sim_stripe(POST => 'prices', {id => "price_$name", product => "prod_$name",
        currency => 'usd', unit_amount => $cents{$name}, recurring => {interval => 'month'},
        lookup_key => lc "${name}_monthly"});
}

sub subscribe {
    my ($id, $customer, $product, %more) = @_;
    return $rig->sim_stripe(POST => 'subscriptions', {id => "sub_$id", customer => "cus_$customer",
        items => [{price => "price_$product", quantity => 1}], %more});
}

for my $customer (['Inside', 'Starter'], ['Outside', 'Growth'], ['Both', 'Starter', 'Growth'],
    ['Nothing']) {
    my ($name, @products) = @$customer;
    $rig->sim_stripe(POST => 'customers', {id => "cus_$name", name => $name,
        email => "billing\@$name.example"});
    subscribe("$name$_", $name, $_) for @products;
}
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_stripe(hooks => 1);
$rig->run_now('stripe');

sub living {
    return join ' ', map { "$_->{name}:" . ($_->{mrr} + 0) } $rig->rows('select name, mrr
        from psync_bi.customer where archived_at is null order by name');
}

sub mirrored {
    return join ' ', map { $_->{record_id} } $rig->rows('select record_id
        from psync_bi.stripe_subscription where in_scope and deleted_at is null order by 1');
}

# Choose, and wait for the full sync that it starts.
sub choose {
    my @choice = @_;
    $rig->must('scope', 'set', 'stripe', @choice);
    wait_for("the full sync after scope set @choice", 60, sub {
        $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
    });
    return;
}

my $all = 'Both:61.5 Inside:49 Nothing:0 Outside:12.5';
is living(), $all, 'without a scope every customer is one';
like $rig->must('scope', 'show', 'stripe'), qr/^all: 4 subscriptions mirrored here/, 'scope show';

is_deeply [map { $_->{id} } @{$rig->cmd_json('scope', 'choices', 'stripe', 'product', 'starter')}],
    ['prod_Starter'], 'what there is to choose is found by name';

# ---- what cannot be ----
my ($code, $out, $err) = $rig->cmd('scope', 'set', 'stripe', 'product', 'prod_Nobody');
is $code, 3, 'a product that is not there';
like $err, qr/no product 'prod_Nobody'/, 'is named';
is(($rig->cmd('scope', 'set', 'stripe', 'lookup_key', 'nothing'))[0], 3, 'a lookup key neither');
($code, $out, $err) = $rig->cmd('scope', 'set', 'stripe', 'list', 42);
is $code, 2, 'Stripe has no lists';
like $err, qr/all product lookup_key/, 'and what it has is said';
is(($rig->cmd('scope', 'set', 'stripe', 'product'))[0], 2, 'which product must be said');
is(($rig->cmd('scope', 'set', 'hubspot', 'all'))[0], 3, 'no HubSpot here');

# ---- by product ----
$out = $rig->must('scope', 'set', 'stripe', 'product', 'prod_Starter', '--dry-run');
like $out, qr/The Starter: 0 would be added, 2 kept, 2 archived/, 'dry run';
is living(), $all, 'changes nothing';
choose(product => 'prod_Starter');
is living(), 'Both:49 Inside:49', 'customers are those with a subscription inside; only it counts';
is mirrored(), 'sub_BothStarter sub_InsideStarter', 'no other is mirrored';
is $rig->value("select string_agg(distinct archived_why, ' ') from psync_bi.customer
    where archived_at is not null"), 'out_of_stripe_scope', 'the others are archived for that';
like $rig->must('scope', 'show', 'stripe'),
    qr/^product prod_Starter The Starter: 2 subscriptions mirrored/, 'scope show';
my ($row) = $rig->rows("select * from psync_bi.sync_log where record_id = 'sub_OutsideGrowth'
    order by attempt_id desc limit 1");
is $row->{error_code}, 'out_of_stripe_scope', 'the log says why a subscription is not there';
is "$row->{status} $row->{severity}", 'skipped skipped', 'which is no error';
is $rig->value("select state from psync_bi.record_health where record_id = 'cus_Outside'"),
    'excluded', 'so does the health of its customer';
for my $id (['subscription', 'sub_OutsideGrowth'], ['customer', 'cus_Outside']) {
    ($code, $out, $err) = $rig->cmd('resync', 'stripe', @$id, '--wait', '--timeout', '240s');
    is $code, 3, "resync of $id->[1] ends with 3";
    like $out . $err, qr/scope/, 'and says why';
}
($code, $out) = $rig->cmd('why', 'stripe', 'subscription', 'sub_OutsideGrowth');
like $out, qr/no price of product prod_Starter/, 'why names the scope';

# ---- by deliveries ----
subscribe('LateGrowth', 'Nothing', 'Growth');
wait_for('a delivery about one outside has its line in the log', 20, sub {
    $rig->value("select count(*) from psync_bi.sync_log where record_id = 'sub_LateGrowth'
        and error_code = 'out_of_stripe_scope' and status = 'skipped'");
});
is $rig->value("select count(*) from psync.record where record_id = 'sub_LateGrowth'"), 0,
    'and is not kept';
subscribe('LateStarter', 'Outside', 'Starter');
wait_for('a subscription inside brings its customer back', 20,
    sub { living() eq 'Both:49 Inside:49 Outside:49' });

# ---- by lookup key, and back ----
choose(lookup_key => 'starter_monthly');
is living(), 'Both:49 Inside:49 Outside:49', 'by lookup key';
choose(product => 'prod_Starter,prod_Growth');
is mirrored(), 'sub_BothGrowth sub_BothStarter sub_InsideStarter sub_LateGrowth sub_LateStarter'
    . ' sub_OutsideGrowth', 'two products';
choose('all');
is living(), 'Both:61.5 Inside:49 Nothing:12.5 Outside:61.5', 'all are back, and all counts';
is $rig->value("select count(*) from psync_bi.customer"), 4, 'as the customers that they were';
is $rig->value("select count(*) from psync_bi.record_health where state <> 'in_sync'
    and object_type in ('customer', 'subscription')"), 0, 'and none is out of sync';
is $rig->value("select string_agg(target, ',' order by at) from psync_bi.audit_trail
    where action = 'scope.set'"),
    'product prod_Starter,lookup_key starter_monthly,product prod_Starter,prod_Growth,all ',
    'each choice stands in the audit';
done_testing;
