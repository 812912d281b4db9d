#!/usr/bin/perl
# Reading all of a Stripe account: what it costs, what moves while it is read, answers that are
# no answers. Each case ends in a row and in a line of the log.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--customers 250)]);

# ---- a subscription with 25 items, an invoice with 300 lines ----
# 9 items at 10.00 a month, 14 add-ons and two more come past the first ten of the embedded list.
$rig->sim_stripe(POST => 'prices', {id => sprintf('price_SysMany%02d', $_),
    product => 'prod_SimStarter', currency => 'usd', unit_amount => 1000 + $_,
    recurring => {interval => 'month'}})
    for 1 .. 25;
$rig->sim_stripe(POST => 'customers',
    {id => 'cus_SysMany', name => 'Many Ltd', email => 'billing@many.example'});
$rig->sim_stripe(POST => 'subscriptions', {id => 'sub_SysMany', customer => 'cus_SysMany',
    items => [map { {price => sprintf('price_SysMany%02d', $_)} } 1 .. 25]});
$rig->sim_stripe(POST => 'invoices', {id => 'in_SysMany', customer => 'cus_SysMany',
    lines => [map { {amount => $_, description => "line $_"} } 1 .. 300]});

# Older than 13 months: not mirrored.
$rig->sim_stripe(POST => 'invoices', {id => 'in_SysOld', customer => 'cus_SysMany',
    created => time() - 500 * 86400});

$rig->start(qw(webhook-gw scheduler worker));
my $connection = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'the first full sync succeeds';

sub record {
    my ($type, $id) = @_;
    my ($row) = $rig->rows("select raw, deleted_at from psync.record
        where connection_id = $connection and object_type = '$type' and record_id = '$id'");
    return $row;
}

sub attempts {
    my ($where) = @_;
    return $rig->rows("select attempt_id::text as id, run_id, kind, trigger, object_type, record_id, status,
        error_code, error_message, error_field, http_status, resolved, provider_request_id
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

is scalar @{record('subscription', 'sub_SysMany')->{raw}{items}{data}}, 25,
    'a subscription of 25 items is stored with all of them';
is customer('Many Ltd')->{mrr}, 253.25, 'and all 25 count for MRR';
is scalar @{record('invoice', 'in_SysMany')->{raw}{lines}{data}}, 300,
    'an invoice of 300 lines is stored with all of them';
ok !record('invoice', 'in_SysMany')->{raw}{lines}{has_more}, 'and says that no more follow';
is record('invoice', 'in_SysOld'), undef, 'an invoice of 500 days ago is not mirrored';
is $rig->value("select status from psync.attempt where kind = 'chunk' and object_type = 'invoice'
    and connection_id = $connection order by attempt_id desc limit 1"), 'succeeded',
    'the log says that the page succeeded';

# ---- what a full run costs ----
sub requests { return $rig->sim(GET => 'counters?ids=0')->{stripe}{requests} }

my %rest = (subscriptions => 'items', invoices => 'lines');
my $least = 0;
for my $type (qw(products prices coupons customers subscriptions invoices)) {
    my $all = $rig->sim_stripe(GET => $type);
    @$all = grep { $_->{created} > time - 395 * 86400 } @$all if $type eq 'invoices';
    $least += int((@$all + 99) / 100) || 1;
    my $list = $rest{$type} or next;
    for my $record (@$all) {
        my $n = @{$record->{$list}{data}};
        $least += int(($n - 10 + 99) / 100) if $n > 10;
    }
}
wait_for('the catch-up after the first full sync is through', 60, sub {
    $rig->value("select last_catch_up_at is not null from psync.connection
        where connection_id = $connection") eq 't' && $rig->idle });
$rig->sim(POST => 'counters/reset');
is $rig->run_now('stripe'), 0, 'a second full sync succeeds';
my $asked = requests();
my $first = $rig->value("select api_calls from psync_bi.run_history
    where connection_id = $connection order by run_id limit 1");
cmp_ok $first, '<=', $least * 1.02, "the first full sync asked $first times";
cmp_ok $asked, '<=', $least * 1.02, "a full sync asks $asked times where $least are the least";
is $rig->value("select updated from psync_bi.run_history where connection_id = $connection
    order by run_id desc limit 1"), 0, 'and writes nothing, since nothing changed';

# ---- a customer that is deleted while the customers are paged through ----
# The second page is held; the record its cursor names, and one of the page itself, are deleted.
my @customers = map { $_->{id} } reverse @{$rig->sim_stripe(GET => 'customers')};
my ($cursor, $later) = @customers[99, 149];
my $fault = $rig->fault(provider => 'stripe', path => '/v1/customers', contains => 'starting_after',
    until_released => JSON::PP::true, late => JSON::PP::true);
$rig->cmd_start('paging', 'run-now', 'stripe', '--wait', '--timeout', '240s');
wait_for('the second page of customers is asked for', 20, sub { $rig->held($fault) });
$rig->sim_stripe(DELETE => "customers/$_", {notify => JSON::PP::false}) for $cursor, $later;
$rig->sim(DELETE => "faults/$fault");
is $rig->cmd_end('paging', 60), 0, 'a run whose cursor was deleted meanwhile succeeds';
wait_for('the deleted customer of the page is marked', 20,
    sub { record('customer', $later)->{deleted_at} });
is record('customer', $later)->{raw}{id}, $later, 'and keeps its last form';
# That one was on a page that came before: no page of this run can tell, but the next catch-up.
$rig->must('queue', 'rebuild');
wait_for('so is the one that the cursor named', 20,
    sub { record('customer', $cursor)->{deleted_at} });
for my $id ($cursor, $later) {
    my ($line) = attempts("record_id = '$id' and error_code = 'record_deleted'");
    ok $line, "the log says that $id was deleted at the provider" or next;
    is $line->{status}, 'skipped', 'which is not a failure';
}
is $rig->value("select count(*) from psync.record_seen where connection_id = $connection
    and object_type = 'customer' and state = 'archived'"), 2, 'no other customer is marked';

# ---- answers that are no answers ----
for my $case (
    ['a page of HTML on 502', {error => 'html-502'}, 502, qr/<html/i],
    ['an empty 504', {error => 'empty-504'}, 504, qr/^$/],
    ['a body cut short on 500', {error => 'api-error', truncate_bytes => 40}, undef, undef],
    ['a reset connection', {reset => JSON::PP::true}, undef, undef],
) {
    my ($what, $how, $status, $body) = @$case;
    my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    # Until a try is logged: curl repeats by itself where a connection it held open is closed.
    my $id = $rig->fault(provider => 'stripe', path => '/v1/coupons', times => -1, %$how);
    $rig->cmd_start('paging', 'run-now', 'stripe', '--wait', '--timeout', '240s');
    wait_for("$what: a try is logged", 30,
        sub { attempts("attempt_id > $before and object_type = 'coupon'") });
    $rig->sim(DELETE => "faults/$id");
    is $rig->cmd_end('paging', 80), 0, "$what: the run succeeds all the same";
    my @lines = attempts("attempt_id > $before and object_type = 'coupon'");
    like join(' ', map { $_->{status} } @lines), qr/^(retrying )+succeeded$/,
        "$what: the tries are logged, and the one that succeeds";
    is $lines[0]{http_status}, $status, "$what: with the status of the answer" if $status;
    like body_of($lines[0]), $body, "$what: and with what came" if $body;
    ok $lines[0]{error_message} ne '', "$what: and a sentence";
}

# ---- a key that lacks one permission ----
my $key = Psync::STRIPE_KEY;
my @permissions = map { "${_}_read" }
    qw(customer subscription plan product coupon charge event invoice account);
$rig->sim_stripe(PATCH => "keys/$key", {permissions => [@permissions[0 .. 6]]});
my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
my ($code) = $rig->cmd('run-now', 'stripe', '--wait', '--timeout', '240s');
is $code, 6, 'without the permission for invoices a run ends with errors';
my ($run) = $rig->rows("select status, objects from psync_bi.run_history
    where connection_id = $connection order by run_id desc limit 1");
is $run->{status}, 'partial', 'it is not called a success';
is $run->{objects}{invoice}{broken_chunks}, 1, 'invoices are what is missing';
is $run->{objects}{customer}{broken_chunks}, 0, 'customers are not';
cmp_ok $run->{objects}{subscription}{seen}, '>', 100, 'what comes after is read as ever';
my ($line) = attempts("attempt_id > $before and error_code = 'permission_denied'");
is $line->{object_type}, 'invoice', 'the line in the log is about invoices';
is $line->{http_status}, 403, 'and shows the refusal';
like "$line->{error_message} $line->{error_field}", qr/invoice_read/, 'and names the permission';
is $rig->value("select state from psync.connection where connection_id = $connection"),
    'connected', 'the connection stays connected';

# Others are still swept: a customer deleted without a word is found.
my $gone = $customers[10];
$rig->sim_stripe(DELETE => "customers/$gone", {notify => JSON::PP::false});
$rig->cmd('run-now', 'stripe', '--wait', '--timeout', '60s');
ok record('customer', $gone)->{deleted_at}, 'customers are compared to the end all the same';
$rig->sim_stripe(PATCH => "keys/$key", {permissions => \@permissions});
is $rig->run_now('stripe'), 0, 'with the permission the next run succeeds';

done_testing;
