#!/usr/bin/perl
# A change at HubSpot becomes a delivery, a row, the customer's fields and a line in the log.
use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 12 --list-members 8 --contacts 10 --customers 0)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';

my $members = $rig->sim(GET => 'hubspot/1234567/companies?list=42');
is scalar(@$members), 8, 'the list has members';
is $rig->value('select count(*) from psync_bi.customer where archived_at is null'), 8,
    'each of them is a customer';
my $id = $members->[0]{id};

sub row { # of the view
    my ($view, $record) = @_;
    my ($row) = $rig->rows("select * from psync_bi.hubspot_$view where record_id = '$record'");
    return $row;
}

sub customer_of {
    my ($record) = @_;
    my ($row) = $rig->rows("select c.* from psync_bi.customer c join psync.record_link l
        using (customer_id) where l.record_id = '$record' and l.object_type = 'company'");
    return $row;
}

sub change {
    my ($type, $record, %properties) = @_;
    return $rig->sim_hubspot(PATCH => "$type/$record", {properties => \%properties});
}

# ---- a company ----
change('companies', $id, name => 'Ünï Söhne 東京', domain => 'UNI.Example',
    numberofemployees => '4711', annualrevenue => '1250000.5', industry => 'BANKING',
    tier => 'pro', hubspot_owner_id => '41629780');
wait_for('a changed company arrives', 20,
    sub { row('company', $id)->{raw}{properties}{numberofemployees} eq '4711' });
wait_for('and its customer', 20, sub { customer_of($id)->{employee_count} == 4711 });
my $customer = customer_of($id);
is $customer->{name}, "Ünï Söhne 東京", 'with the name as it was written'
    or diag explain $customer;
is $customer->{domain}, 'uni.example', 'the domain in lower case';
is $customer->{arr}, 1250000.5, 'the revenue as a number';
is $customer->{plan}, 'pro', 'the plan';
my $owners = $rig->http('GET', "$rig->{hubspot}/crm/owners/2026-03/41629780",
    headers => {Authorization => 'Bearer ' . Psync::HUBSPOT_TOKEN});
is $customer->{owner}, json->decode($owners->{content})->{email}, 'and the e-mail of its owner';

my $truth = $rig->sim_hubspot(GET => "companies/$id");
my $mine = row('company', $id)->{raw};
my @differing = grep {
    defined $truth->{properties}{$_} && ($mine->{properties}{$_} // '') ne $truth->{properties}{$_}
} keys %{$mine->{properties}};
is "@differing", '', 'every property that we hold is what HubSpot has';

my ($attempt) = $rig->rows("select * from psync_bi.sync_log where record_id = '$id'
    and trigger = 'webhook' order by attempt_id limit 1");
is $attempt->{status}, 'succeeded', 'the attempt is in the log';
is $attempt->{object_type}, 'company', 'with the type of its record';
my ($provenance) = $rig->rows("select * from psync_bi.field_provenance
    where customer_id = $customer->{customer_id} and field = 'arr'");
is $provenance->{source_property}, 'annualrevenue', 'a field tells its property';
is $provenance->{source_record_id}, $id, 'and its record';

# ---- a contact ----
my $contacts = $rig->rows("select * from psync_bi.hubspot_contact limit 1");
my ($contact) = $rig->value('select record_id from psync_bi.hubspot_contact
    where in_scope order by 1 limit 1');
change('contacts', $contact, firstname => 'Grace', lastname => 'Hopper');
wait_for('a changed contact arrives', 20, sub {
    my $c = row('contact', $contact);
    return $c->{raw}{properties}{firstname} eq 'Grace';
});

# ---- a value that does not fit ----
change('companies', $id, annualrevenue => '1,2 Mio', name => 'Uni GmbH');
wait_for('a value that does not fit is logged', 20, sub {
    my ($e) = $rig->rows("select * from psync_bi.sync_log where record_id = '$id'
        and error_code = 'map_type_mismatch' limit 1");
    return $e && $e->{error_field} eq 'arr' && $e->{status} eq 'partial';
});
$customer = customer_of($id);
is $customer->{name}, 'Uni GmbH', 'the other fields are written';
is $customer->{arr}, 1250000.5, 'that one is held back';
change('companies', $id, annualrevenue => '99');
wait_for('until it fits again', 20, sub { customer_of($id)->{arr} == 99 });
is $rig->value("select bool_and(resolved) from psync_bi.sync_log where record_id = '$id'
    and error_code = 'map_type_mismatch'"), 't', 'then its error is resolved';

# ---- gone, and back ----
my $gone = $members->[1]{id};
$rig->sim_hubspot(DELETE => "companies/$gone");
wait_for('a company that is deleted archives its customer', 20,
    sub { defined customer_of($gone)->{archived_at} });
ok defined row('company', $gone)->{deleted_at}, 'its row stays, marked';
$rig->sim_hubspot(POST => "companies/$gone/restore");
wait_for('restored, it is back', 30, sub { !defined customer_of($gone)->{archived_at} });

wait_for('nothing is left to do', 20, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
