#!/usr/bin/perl
# Deliveries are never data: a thousand during one fetch cost one more fetch, and those that are
# doubled, shuffled and late change nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;

my $chaos = Chaos->new(sim => ['--companies', 60, '--list-members', 40, '--contacts', 40,
    '--customers', 40]);
my $rig = $chaos->rig;

# A thousand events on one record during a held fetch.
for my $of ('stripe', 'hubspot') {
    my $type = $of eq 'stripe' ? 'customers' : 'companies';
    my $id = $chaos->pick($type);
    my $path = "$type/$id";
    my $patch = sub {
        my ($no, %more) = @_;
        $of eq 'stripe'
            ? $rig->sim_stripe(PATCH => $path, {name => "Many $no", %more})
            : $rig->sim_hubspot(PATCH => $path, {properties => {name => "Many $no"}, %more});
    };
    my $before = $rig->calls_naming($type, $id);
    my $hold = $rig->fault(provider => $of, contains => "$id", until_released => JSON::PP::true);
    $patch->(0);
    wait_for("$of: the fetch is held", 10, sub { $rig->held($hold) > 0 });
    $patch->($_, count => 20) for 1 .. 50;
    $rig->sim(POST => 'webhooks/flush', {deadline_ms => 20000});
    $rig->sim(DELETE => "faults/$hold");
    wait_for("$of: all work is done", 20, sub { $rig->idle });
    my $calls = $rig->calls_naming($type, $id) - $before;
    cmp_ok($calls, '<=', 2, "$of: 1,000 events during one fetch cost $calls fetches");
    my $object = $of eq 'stripe' ? 'customer' : 'company';
    my $column = $of eq 'stripe' ? "raw ->> 'name'" : "raw #>> '{properties,name}'";
    is($rig->value("select $column from psync.record where object_type = '$object'"
        . " and record_id = '$id'"), 'Many 50', "$of: and the last state is stored");
}

# Ten of each, shuffled, delayed by different times.
my $n = Chaos::long_form() ? 600 : 60;
$chaos->change($n, count => 10, shuffle => JSON::PP::true, delay_ms => 300);
$rig->sim(POST => 'webhooks/flush', {deadline_ms => 60000});
$chaos->converges("$n changes, each delivered ten times and shuffled", 60);

# What is sent again days later says nothing new: not a byte of any row changes.
my $hashes = sub {
    $rig->value("select md5(string_agg(object_type || record_id || coalesce(encode(hash, 'hex'), '')"
        . ", ',' order by connection_id, object_type, record_id)) from psync.record_seen")
        . $rig->value("select md5(string_agg(fields::text, ',' order by customer_id))"
        . " from psync.customer");
};
my $first = $hashes->();
my $events = $rig->sim_stripe(GET => 'events');
my @old = map { $_->{id} } grep { $_->{type} =~ /^customer\./ } @$events;
splice @old, Chaos::long_form() ? 500 : 80;
$rig->sim(POST => 'webhooks/send', {provider => 'stripe', event => $_}) for reverse @old;
my @companies = map { ref $_ ? $_->{id} : $_ } @{$chaos->{companies}};
$rig->sim(POST => 'webhooks/send', {provider => 'hubspot', events => [map {
    {subscriptionType => 'company.propertyChange', objectId => $_ + 0, propertyName => 'name',
        propertyValue => 'three days ago', occurredAt => (time - 72 * 3600) * 1000}
} @companies], count => 3, shuffle => JSON::PP::true});
$rig->sim(POST => 'webhooks/flush', {deadline_ms => 60000});
my $c = $chaos->converges(@old + @companies . ' deliveries 72 hours late', 60);
is($hashes->(), $first, 'the rows are the same to the last byte');
Chaos::report($c);
done_testing;
