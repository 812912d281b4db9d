#!/usr/bin/perl
# From the delivery to the committed row, the record fetched again each time from a provider that
# answers at once: from the instant before the bytes are sent to PostgreSQL's time of the commit. Each
# delivery is of another record, which has changed. Stripe is read one record a call and at its limit
# allows 100 a second, so what is above that is HubSpot, which is read a hundred a call.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rate runs percentile most_mb unlimited full deliver raw_post);
use List::Util qw(min);
use Psync;

my $records = $ENV{BENCH_DELIVERIES} // 10_000;
my $rig = unlimited(['--companies', $records, '--list-members', $records, '--contacts', 0,
    '--customers', $records, '--subscriptions-per-customer', 0],
    postgres_options => ['-c', 'track_commit_timestamp=on']);
$rig->start('webhook-gw', 'worker');
full($rig, $records, sub { $rig->connect_hubspot; $rig->start('scheduler');
    $rig->cmd('run-now', 'hubspot') });
full($rig, $records, sub { $rig->connect_stripe; $rig->cmd('run-now', 'stripe') });
my @programs = qw(webhook-gw worker redis postgres);
my $round = 0;
my %provider = (
    stripe => {object => 'customer', ids => $rig->sim_stripe(GET => 'customers?ids=1'),
        change => sub { $rig->sim_stripe(POST => 'customers/bulk', {ids => $_[0],
            patch => {name => $_[1]}, notify => JSON::PP::false}) },
        delivery => sub { $rig->stripe_delivery($rig->stripe_event('customer.updated',
            {id => $_[0], object => 'customer'})) },
        name => "raw ->> 'name'"},
    hubspot => {object => 'company', ids => $rig->sim_hubspot(GET => 'companies?list=42&ids=1'),
        change => sub { $rig->sim_hubspot(POST => 'companies/bulk', {ids => [map { "$_" } @{$_[0]}],
            properties => {name => $_[1]}, notify => JSON::PP::false}) },
        delivery => sub { $rig->hubspot_delivery($rig->hubspot_events({objectId => 0 + $_[0],
            propertyName => 'name', propertyValue => $_[1]})) },
        name => "raw #>> '{properties,name}'"},
);

# So many records change and are told of; how long until the last was there, and the ms of each.
sub told {
    my ($name, $per_s, $count) = @_;
    my $p = $provider{$name};
    my @some = @{$p->{ids}}[0 .. $count - 1];
    my $mark = 'Round ' . ++$round;
    $p->{change}->(\@some, $mark);
    my @posts = map { raw_post($p->{delivery}->($_, $mark)) } @some;
    my @sent = deliver($rig, $per_s, @posts);
    Psync::until_true(120, sub { $rig->idle }) or die "the queue does not run empty\n";
    my %committed = map { split /\|/ } split /\n/, $rig->value("select record_id,
        extract(epoch from pg_xact_commit_timestamp(xmin)) from psync.record
        where object_type = '$p->{object}' and $p->{name} = '$mark'");
    keys %committed == $count or die keys(%committed) . " rows of $count are written\n";
    my ($last) = sort { $b <=> $a } values %committed;
    return ($last - $sent[0], map { ($committed{$some[$_]} - $sent[$_]) * 1000 } 0 .. $#some);
}

for my $case (['stripe', 20, 3, 10], ['hubspot', 500, 10, 50]) {
    my ($name, $per_s, $p50, $p99) = @$case;
    my %at;
    for (1 .. runs()) {
        my ($took, @ms) = told($name, $per_s, min(6 * $per_s, $records));
        push @{$at{$_}}, percentile($_, @ms) for 0.5, 0.99;
    }
    row("webhook.${name}_to_row_${per_s}_a_second_p50", 'ms', ['<=', $p50], @{$at{0.5}});
    row("webhook.${name}_to_row_${per_s}_a_second_p99", 'ms', ['<=', $p99], @{$at{0.99}});
}

for my $case (['hubspot', 3000, $records], ['stripe', undef, int($records / 5)]) {
    my ($name, $goal, $count) = @$case;
    my %got;
    for (1 .. runs()) {
        my $cpu = 0;
        $cpu -= $rig->cpu_s($rig->pid($_)) for @programs;
        my ($took) = told($name, 0, $count);
        $cpu += $rig->cpu_s($rig->pid($_)) for @programs;
        push @{$got{rate}}, $count / $took;
        push @{$got{cpu}}, $cpu / $count * 1e6;
        push @{$got{mb}}, most_mb($rig, $rig->pid('worker'));
    }
    rate("webhook.${name}_sustained", 'records/s', $goal && ['>=', $goal], \%got);
}
