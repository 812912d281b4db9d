#!/usr/bin/perl
# What deliveries did not bring is found in Stripe's list of events, by one call where little
# happened; reads are counted; an endpoint that somebody switched off is noticed.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 20)]);
my $no = JSON::PP::false;
$rig->start(qw(webhook-gw scheduler worker));
$rig->must('connection', 'connect', 'stripe', '--token-file',
    $rig->secret_file('stripe', Psync::STRIPE_KEY));
my $connection = $rig->connection('stripe');
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';
$rig->must('webhook', 'repair', 'stripe');
wait_for('nothing is left to do', 20, sub { $rig->idle });

# A catch-up is what a connection gets that is connected again.
sub catch_up {
    my $before = $rig->value(
        "select coalesce(last_catch_up_at, 'epoch') from psync.connection");
    $rig->must('connection', 'connect', 'stripe', '--token-file',
        $rig->secret_file('stripe', Psync::STRIPE_KEY));
    wait_for('a catch-up ends', 30, sub {
        $rig->value("select last_catch_up_at > '$before' from psync.connection") eq 't'
            && $rig->idle;
    });
    return;
}

sub event_calls {
    my $endpoints = $rig->sim(GET => 'counters?ids=0')->{stripe}{endpoints};
    return $endpoints->{'GET /v1/events'}{requests} // 0;
}

catch_up();
$rig->sim(POST => 'counters/reset');
catch_up();
is event_calls(), 1, 'where nothing happened one call tells it, for all types';

# ---- missed changes of several types, of each the log line ----
# Switched off: events are made, and nobody is told.
my ($endpoint) = @{$rig->sim_stripe(GET => 'webhook_endpoints')};
$rig->sim_stripe(PATCH => "webhook_endpoints/$endpoint->{id}", {status => 'disabled'});
# Five minutes ago: what happened just now may still be on its way.
$rig->sim(POST => 'clock', {offset_ms => -300_000});
$rig->sim_stripe(POST => 'customers',
    {id => 'cus_SysMissed', name => 'Missed', email => 'billing@missed.example'});
$rig->sim_stripe(POST => 'subscriptions', {id => 'sub_SysMissed', customer => 'cus_SysMissed',
    items => [{price => 'price_1SimStarterMonthly'}]});
$rig->sim_stripe(POST => 'charges', {id => 'ch_SysMissed', customer => 'cus_SysMissed'});
$rig->sim(POST => 'clock', {offset_ms => 0});
$rig->sim_stripe(PATCH => 'coupons/SIM10OFF', {name => 'ten off'});
$rig->sim(POST => 'counters/reset');
catch_up();
cmp_ok event_calls(), '<=', 2, 'one listing finds changes of all types';
is $rig->value("select mrr > 0 from psync_bi.customer where name = 'Missed'"), 't',
    'the customer is there with its MRR';
is $rig->value(q{select raw ->> 'name' from psync.record where record_id = 'SIM10OFF'}), 'ten off',
    'and the coupon has its name';
is $rig->value(q{select count(*) from psync.record where object_type = 'charge'}), 0,
    'what is not mirrored is passed over';
is $rig->value(q{select string_agg(distinct status, ' ') from psync.attempt
    where trigger = 'catch-up' and record_id in ('cus_SysMissed', 'sub_SysMissed')}), 'succeeded',
    'the log says that a catch-up brought them';
is $rig->value(q{select error_message from psync.attempt where error_code = 'wh_endpoint_disabled'
    order by attempt_id desc limit 1}), 'the endpoint is disabled',
    'that the endpoint is off was noticed';
is $rig->value('select channel_state from psync.connection'), 'stale', 'and the channel is stale';

# ---- many changes of one type: one by one, or by listing the type, whichever costs less ----
sub calls_of {
    my ($endpoint) = @_;
    my $endpoints = $rig->sim(GET => 'counters?ids=0')->{stripe}{endpoints};
    return $endpoints->{$endpoint}{requests} // 0;
}

sub many_missed {
    my ($n, $tag) = @_;
    $rig->sim(POST => 'clock', {offset_ms => -300_000});
    $rig->sim_stripe(POST => 'customers', {id => "cus_Sys$tag$_", name => "$tag $_"}) for 1 .. $n;
    $rig->sim(POST => 'clock', {offset_ms => 0});
    $rig->sim(POST => 'counters/reset');
    catch_up();
    wait_for("$tag: $n missed customers are here", 30, sub {
        $rig->value("select count(*) from psync.record where record_id like 'cus_Sys$tag%'") == $n;
    });
    wait_for("$tag: and all is quiet", 20, sub { $rig->idle });
    return;
}
my $full_at = $rig->value('select last_full_success_at from psync.connection');
many_missed(19, 'Few');
is calls_of('GET /v1/customers/{id}'), 19, 'few changes are read one by one';
many_missed(60, 'Many');
is calls_of('GET /v1/customers/{id}'), 0, 'sixty are not: all customers are two pages';
cmp_ok calls_of('GET /v1/customers'), '<=', 2, 'which are listed';
my ($bulk) = $rig->rows(q{select * from psync_bi.run_history where kind = 'bulk'});
is $bulk->{status}, 'succeeded', 'by a run of that type';
is $bulk->{trigger}, 'catch-up', 'that a catch-up began';
is_deeply [keys %{$bulk->{objects}}], ['customer'], 'and of no other';
is $bulk->{objects}{customer}{created}, 60, 'which wrote them';
is $rig->value('select last_full_success_at from psync.connection'), $full_at,
    'it is no full sync to the clock';
# As if listing them had cost fifty calls: sixty reads are not 1.2 times that.
$rig->value("update psync.run_chunk set api_calls = 50 where object_type = 'customer'
    and run_id = (select max(run_id) from psync.run where kind = 'full')");
many_missed(60, 'Dear');
is calls_of('GET /v1/customers/{id}'), 60, 'where listing costs as much they are read one by one';
is $rig->value(q{select count(*) from psync.run where kind = 'bulk'}), 1, 'without another run';

# ---- a long gap: what deliveries failed for comes first ----
$rig->value("update psync.connection set watermark_at = now() - interval '1 day'");
$rig->sim(POST => 'counters/reset');
catch_up();
cmp_ok event_calls(), '>=', 2, 'after a long gap undelivered events are asked for by themselves';

# ---- the ration ----
my ($ration) = grep { ($_->{family} // '') eq 'reads of the month' } @{$rig->cmd_json('quota')};
is $ration->{connection_id}, $connection, 'quota shows the reads of the connection';
cmp_ok $ration->{used}, '>', 10, 'those that were made';
is $ration->{ration}, 10000, 'and how many are granted';
my $reads = $rig->value('select sum(reads) from psync.provider_read');
$rig->sim(POST => 'counters/reset');
is $rig->run_now('stripe'), 0, 'a full sync';
my $made = $rig->sim(GET => 'counters?ids=0')->{stripe}{requests};
is $rig->value('select sum(reads) from psync.provider_read') - $reads, $made,
    "its $made reads are counted";

done_testing;
