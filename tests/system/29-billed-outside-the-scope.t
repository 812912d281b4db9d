#!/usr/bin/perl
# A customer of HubSpot whose Stripe customer has subscriptions outside of the chosen scope only:
# the link stays, and what is outside counts for nothing: MRR is 0 and payment status none, never
# what it was before. It is no error; the log says out_of_stripe_scope; widened, all is back.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 4 --list-members 4 --contacts 0 --customers 0)]);
for my $name (qw(Starter Growth)) {
    $rig->sim_stripe(POST => 'products', {id => "prod_$name", name => "The $name"});
    $rig->sim_stripe(POST => 'prices', {id => "price_$name", product => "prod_$name",
        currency => 'usd', unit_amount => 4900, recurring => {interval => 'month'}});
}
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
my ($matched, $by_hand, $both) = $rig->rows('select customer_id, domain from psync_bi.customer
    order by customer_id limit 3');

# Who is matched by domain, by hand, and has one subscription inside and one outside, unpaid.
sub bill {
    my ($id, $domain, @products) = @_;
    $rig->sim_stripe(POST => 'customers', {id => "cus_$id", name => $id,
        email => "billing\@$domain"});
    $rig->sim_stripe(POST => 'subscriptions', {id => "sub_$id$_", customer => "cus_$id",
        items => [{price => "price_$_", quantity => 1}]}) for @products;
    return;
}
bill('Domain', $matched->{domain}, 'Growth');
bill('Hand', 'elsewhere.example', 'Growth');
bill('Both', $both->{domain}, 'Starter', 'Growth');
$rig->connect_stripe(hooks => 1);
$rig->run_now('stripe');
$rig->must('link', 'add', 'stripe', 'cus_Hand', $by_hand->{customer_id}, '--wait');

sub billed {
    return join ' ', map {
        my ($row) = $rig->rows("select mrr, mrr_currency, payment_status, subscription_status
            from psync_bi.customer where customer_id = $_->{customer_id}");
        join ',', map { $_ // 'null' } $row->{mrr} + 0,
            @$row{qw(mrr_currency payment_status subscription_status)};
    } $matched, $by_hand, $both;
}

sub linked {
    return join ' ', map { "$_->{record_id}:$_->{how}" } $rig->rows("select record_id, how
        from psync.record_link where object_type = 'customer' order by customer_id");
}

sub choose {
    my @choice = @_;
    $rig->must('scope', 'set', 'stripe', @choice);
    wait_for("the full sync after scope set @choice", 60, sub {
        $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
    });
    return;
}

my $all = '49,usd,ok,active 49,usd,ok,active 98,usd,ok,active';
my $links = 'cus_Domain:domain cus_Hand:hand cus_Both:domain';
is billed(), $all, 'without a scope all counts';
is linked(), $links, 'by domain and by hand';

choose(product => 'prod_Starter');
is billed(), '0,usd,none,none 0,usd,none,none 49,usd,ok,active',
    'what is outside counts for nothing: MRR 0, payment status none';
is linked(), $links, 'the links stay';
is $rig->value('select count(*) from psync_bi.customer where archived_at is not null'), 0,
    'customers of HubSpot are not archived for it';
is $rig->value("select string_agg(distinct error_code || ' ' || status || ' ' || severity, ',')
    from psync_bi.sync_log where record_id like 'sub\\_%Growth'"),
    'out_of_stripe_scope skipped skipped', 'the log says why, and calls it no error';
is $rig->value("select count(*) from psync_bi.record_health where state = 'excluded'
    and reason_code = 'out_of_stripe_scope' and record_id in ('cus_Domain', 'cus_Hand')"), 2,
    'so does the health of the Stripe customers';
my ($code, $out) = $rig->cmd('why', 'stripe', 'subscription', 'sub_HandGrowth');
like $out, qr/no price of product prod_Starter/, 'and why, asked for its subscription';
like $rig->must('explain', 'out_of_stripe_scope'), qr/counts for nothing/, 'explain says what it does to MRR';
like $rig->value("select col_description('psync_bi.customer'::regclass, (select attnum from
    pg_attribute where attrelid = 'psync_bi.customer'::regclass and attname = 'mrr'))"),
    qr/outside/, 'and the comment of the column';

choose('all');
is billed(), $all, 'widened, all counts again';
is linked(), $links, 'by the same links';
done_testing;
