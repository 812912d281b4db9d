#!/usr/bin/perl
# Accounts that live on old versions of Stripe's API, whose deliveries have the old shape, and an
# installation that pins an old version: all mirror to the same customers.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $no = JSON::PP::false;

# The simulator gives the same account for the same seed.
sub mirror {
    my ($what, $account_version, $pinned) = @_;
    my $rig = Psync->new(sim => [qw(--customers 40 --seed 7)],
        settings => $pinned ? {STRIPE_API_VERSION => $pinned} : {});
    $rig->sim(PATCH => 'stripe/' . Psync::ACCOUNT, {api_version => $account_version});
    $rig->sim_stripe(POST => 'customers', {id => 'cus_SysOld', name => 'Old Ltd',
        email => 'billing@old.example', notify => $no});
    $rig->start(qw(webhook-gw scheduler worker));
    $rig->connect_stripe(hooks => 1);
    is $rig->run_now('stripe'), 0, "$what: the first full sync succeeds";

    # What deliveries bring, in the account's shape.
    $rig->sim_stripe(POST => 'subscriptions', {id => 'sub_SysOld', customer => 'cus_SysOld',
        items => [{price => 'price_1SimStarterMonthly', quantity => 3}],
        discounts => [{coupon => 'SIM25FOREVER'}]});
    $rig->sim_stripe(POST => 'invoices/for_subscription',
        {subscription => 'sub_SysOld', status => 'open'});
    my ($id) = map { $_->{id} } @{$rig->sim_stripe(GET => 'customers')};
    $rig->sim_stripe(PATCH => "customers/$id", {discount => {coupon => 'SIM10OFF'}});
    wait_for("$what: what deliveries bring arrives", 30, sub {
        $rig->value(q{select count(*) from psync_bi.customer where name = 'Old Ltd' and mrr > 0})
            && $rig->value(q{select count(*) from psync_bi.stripe_invoice
                where customer_id = 'cus_SysOld' and subscription_id = 'sub_SysOld'}) && $rig->idle;
    });
    my @customers = $rig->rows('select name, domain, mrr, mrr_currency, mrr_by_currency,
        payment_status, subscription_status from psync_bi.customer order by name, domain, mrr');
    my @periods = $rig->rows('select record_id, status, current_period_end::date as ends
        from psync_bi.stripe_subscription order by record_id');
    my $shape = $rig->value(q{select count(*) from psync.record where object_type = 'subscription'
        and raw ? 'current_period_end'});
    $rig->stop($_) for qw(webhook-gw scheduler worker);
    return (\@customers, \@periods, $shape);
}

my ($customers, $periods) = mirror('today', '2026-10-28.endive');
cmp_ok scalar(@$customers), '>=', 40, 'there is something to compare';
cmp_ok scalar(grep { $_->{mrr} } @$customers), '>', 20, 'and MRR in it';
for my $case (
    ['an account on 2023-08-16', '2023-08-16', undef],
    ['2023-08-16 pinned', '2023-08-16', '2023-08-16'],
    ['2025-03-31 pinned', '2025-03-31.basil', '2025-03-31.basil'],
) {
    my ($their_customers, $their_periods, $old_shape) = mirror(@$case);
    is_deeply $their_customers, $customers, "$case->[0]: the same customers";
    is_deeply $their_periods, $periods, "$case->[0]: the same subscriptions";
    cmp_ok $old_shape, '>', 0, "$case->[0]: though what is stored has the old shape"
        if ($case->[2] // '') eq '2023-08-16';
}
done_testing;
