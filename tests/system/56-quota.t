#!/usr/bin/perl
# Full runs use what the provider allows, and never more: the simulator counts strictly, by a
# rolling window. How much is used is asserted in the long form, on a machine that is not busy.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = Chaos::long_form();
my $companies = $ENV{QUOTA_COMPANIES} // ($long ? 100_000 : 2_500);
my $customers = $ENV{QUOTA_CUSTOMERS} // ($long ? 50_000 : 2_000);
my $began;
sub before {
    my ($rig) = @_;
    $rig->sim(POST => 'faults', {provider => $_, hold_ms => 80, times => -1})
        for qw(hubspot stripe);
    $rig->sim(POST => 'counters/reset');
    $began = time;
}
my $chaos = Chaos->new(no_sync => 1, before => \&before, sim => ['--companies', $companies, '--list-members',
    $companies, '--contacts', 0, '--customers', $customers, '--subscriptions-per-customer', 0]);
my $rig = $chaos->rig;
sub counts {
    my $c = $rig->sim(GET => 'counters?ids=0');
    return map { $_ => Psync::general_calls($c->{$_}) } qw(hubspot stripe);
}

# Both run at once; each is sampled until its run ends.
my (%samples, %ended);
my %limit = (hubspot => 11, stripe => 25);
my $until = $began + ($long ? 1500 : 90);
# Deliveries come all the while, and cost calls of their own.
my $wave = 0;
sub deliver {
    if (++$wave % 2) {
        $rig->sim_hubspot(PATCH => 'companies/' . $chaos->pick('companies'),
            {properties => {name => "Wave $wave"}});
    }
    else {
        $rig->sim_stripe(PATCH => 'customers/' . $chaos->pick('customers'),
            {name => "Wave $wave"});
    }
}
while (keys %ended < 2 && time < $until) {
    my %n = counts();
    deliver();
    my $now = time;
    for my $p (qw(hubspot stripe)) {
        next if $ended{$p};
        push @{$samples{$p}}, [$now, $n{$p}];
        next if @{$samples{$p}} % 4;
        $ended{$p} = $now if $rig->value('select count(*) from psync.run join psync.connection'
            . " using (connection_id) where provider = '$p' and finished_at is null") == 0;
    }
    sleep 0.25;
}
my $c = $rig->sim(GET => 'counters?ids=0');
is(scalar(keys %ended), 2, 'both runs ended') or diag(explain($rig->cmd('run', 'list')));
for my $p (qw(hubspot stripe)) {
    my @s = @{$samples{$p}};
    my $total = $s[-1][1];
    # Between the first and the last calls, so that start and sweep do not count as idleness.
    my @middle = grep { $_->[1] >= 0.1 * $total && $_->[1] <= 0.9 * $total } @s;
    @middle = @s[0, -1] if @middle < 2;
    my $rate = ($middle[-1][1] - $middle[0][1]) / ($middle[-1][0] - $middle[0][0]);
    my $used = $rate / $limit{$p} * 100;
    my $refused = $c->{$p}{violations};
    note(sprintf '%s: %d calls (and %d with a quota of their own) in %.1f s, %.2f a second = %.1f %%'
        . ' of the quota, %d refused', $p, $total, $c->{$p}{requests} - Psync::general_calls($c->{$p}),
        ($ended{$p} // time) - $began, $rate, $used, $refused);
    note(join ', ', map { "$_ $c->{$p}{endpoints}{$_}{requests}" }
        sort keys %{$c->{$p}{endpoints}});
    if ($p eq 'hubspot') {
        is($refused, 0, 'hubspot: nothing was refused');
        cmp_ok($used, '>=', 95, 'hubspot: the quota is used') if $long;
    }
    else {
        cmp_ok($refused, '<=', $total / 1000, 'stripe: at most one in a thousand was refused');
        cmp_ok($used, '>=', 85, 'stripe: the quota is used') if $long;
    }
}
is($rig->value("select count(*) from psync.attempt where status in ('failed', 'retrying')"), 0,
    'nothing counts as a failed attempt');
Chaos::report($chaos->converges('two full runs', $long ? 300 : 40));
done_testing;
