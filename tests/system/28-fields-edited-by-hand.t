#!/usr/bin/perl
# resync and run-now restore a mapped field that somebody changed in the database although the
# provider's record did not change, and leave an unmapped field alone.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 6 --list-members 5 --contacts 0 --customers 5)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'the first full sync of HubSpot succeeds';
$rig->connect_stripe;
is $rig->run_now('stripe'), 0, 'and that of Stripe';

# Of each provider a record that feeds a customer, and a field that it alone fills.
my ($company) = $rig->rows("select l.record_id, l.customer_id from psync.record_link l
    join psync_bi.field_provenance p using (customer_id, connection_id, object_type, record_id)
    where l.object_type = 'company' and p.field = 'industry' limit 1");
my ($payer) = $rig->rows("select l.record_id, l.customer_id from psync.record_link l
    join psync_bi.field_provenance p using (customer_id, connection_id, object_type, record_id)
    where l.object_type = 'customer' and p.field = 'payment_status' limit 1");
ok $company && $payer, 'there are customers with fields of both';

sub fields {
    my ($customer) = @_;
    return json->decode($rig->value(
        "select fields from psync.customer where customer_id = $customer"));
}

sub edit { # by hand
    my ($customer, %fields) = @_;
    my $text = json->encode(\%fields) =~ s/'/''/gr;
    $rig->value("update psync.customer set fields = fields || '$text'
        where customer_id = $customer");
    return;
}

my @cases = (
    ['hubspot', 'company', $company, {name => 'edited', industry => 'edited', employee_count => 1}],
    ['stripe', 'customer', $payer, {payment_status => 'edited', mrr => 123456}],
);
my @ways = (
    ['resync', sub { my ($p, $type, $id) = @_; ($rig->cmd('resync', $p, $type, $id, '--wait'))[0] }],
    ['run-now', sub { $rig->run_now($_[0]) }],
);
for my $case (@cases) {
    my ($provider, $type, $record, $edited) = @$case;
    my ($id, $customer) = @$record{qw(record_id customer_id)};
    my $before = fields($customer);
    for my $way (@ways) {
        my ($name, $do) = @$way;
        my $written = $rig->value("select written_at from psync.record
            where object_type = '$type' and record_id = '$id'");
        edit($customer, %$edited, note_of_ours => "kept by $name");
        is fields($customer)->{(sort keys %$edited)[0]}, $edited->{(sort keys %$edited)[0]},
            "$provider: fields are edited by hand";
        is $do->($provider, $type, $id), 0, "$provider: $name ends with 0";
        my $after = fields($customer);
        is_deeply {map { $_ => $after->{$_} } keys %$edited},
            {map { $_ => $before->{$_} } keys %$edited},
            "$provider: $name restores the mapped fields";
        is $after->{note_of_ours}, "kept by $name", "$provider: and leaves the unmapped one alone";
        delete $after->{note_of_ours};
        delete $before->{note_of_ours};
        is_deeply $after, $before, "$provider: every other field is as it was";
        is $rig->value("select written_at from psync.record
            where object_type = '$type' and record_id = '$id'"), $written,
            "$provider: the record itself, which had not changed, was not written again";
    }
}

# A field that was taken away comes back too.
$rig->value("update psync.customer set fields = fields - 'name'
    where customer_id = $company->{customer_id}");
is(($rig->cmd('resync', 'hubspot', $company->{record_id}, '--wait'))[0], 0,
    'resync without a type means the company');
ok length(fields($company->{customer_id})->{name} // ''), 'a field that was taken away is back';

# What another customer has is nobody else's business.
my ($other) = $rig->rows("select customer_id from psync.customer
    where customer_id not in ($company->{customer_id}, $payer->{customer_id}) limit 1");
edit($other->{customer_id}, name => 'edited');
is(($rig->cmd('resync', 'hubspot', 'company', $company->{record_id}, '--wait'))[0], 0, 'resync');
is fields($other->{customer_id})->{name}, 'edited', 'a resync of one touches no other';
is $rig->run_now('hubspot'), 0, 'run-now';
isnt fields($other->{customer_id})->{name}, 'edited', 'run-now restores all';

done_testing;
