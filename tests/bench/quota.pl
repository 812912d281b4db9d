#!/usr/bin/perl
# Full syncs at 150 ms a call against the limits that the providers have: how much of what they allow
# is used, and how many calls they refuse.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rig full);
use Psync;

use constant HOLD_MS => 150;

# RECORDS, BEGIN, PROVIDER, calls a second that it allows, GOAL of the share, GOAL of refused ones in %.
sub at_150_ms {
    my ($records, $begin, $provider, $allowed, $share, $refused, @sim) = @_;
    my $rig = rig(sim => \@sim);
    $rig->fault(provider => $provider, hold_ms => HOLD_MS, times => -1);
    $rig->start('worker');
    my $calls;
    my $f = full($rig, $records, sub {
        $begin->($rig);
        $rig->sim(POST => 'counters/reset', {});
        $rig->start('scheduler');
        $rig->cmd('run-now', $provider);
    });
    my $c = $rig->sim(GET => 'counters?ids=0')->{$provider};
    row("quota.${provider}_150_ms", 'records/s', undef, $f->{rate});
    row("quota.${provider}_150_ms_share", 'of what is allowed', ['>=', $share],
        Psync::general_calls($c) / $f->{took} / $allowed);
    row("quota.${provider}_150_ms_refused", '%', ['<=', $refused],
        100 * ($c->{by_status}{429} // 0) / $c->{requests});
    $rig->stop($_) for qw(worker scheduler);
    return;
}

my $companies = $ENV{BENCH_QUOTA_COMPANIES} // 50_000;
at_150_ms($companies, sub { $_[0]->connect_hubspot }, 'hubspot', 11, 0.95, 0, '--companies', $companies,
    '--list-members', $companies, '--contacts', 0, '--customers', 1);
my $customers = $ENV{BENCH_QUOTA_CUSTOMERS} // 100_000;
at_150_ms($customers, sub { $_[0]->connect_stripe }, 'stripe', 25, 0.85, 0.1, '--companies', 1,
    '--customers', $customers, '--subscriptions-per-customer', 0);
