#!/usr/bin/perl
# Full syncs of Stripe beside the open mirror that is used most, @supabase/stripe-sync-engine, against
# the same simulator and the same PostgreSQL. @stripe/sync-engine makes its tables of an OpenAPI file
# that it fetches from GitHub, so it is only said.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rate absent most_mb unlimited full without_invoices);
use Psync;

my $packages = Psync::root() . '/build/bench-peers';
my $why = Psync::npm_packages() // Psync::npm_packages(Psync::root() . '/tests/bench/peers', $packages);
if ($why) {
    absent('peers.supabase', $why);
    exit 0;
}
absent('peers.stripe_sync_engine', 'its tables are made of a file from GitHub');
$ENV{PACKAGES} = $packages;
my $runs = $ENV{BENCH_RUNS} // 3;

# Theirs of each object: {rate, cpu, mb}.
sub theirs {
    my ($rig, %counts) = @_;
    my @objects = sort keys %counts;    # customer before subscription
    open my $out, '-|', Psync::node(), Psync::root() . '/tests/bench/peers/supabase.cjs',
        $rig->{stripe}, $rig->{database_url}, Psync::STRIPE_KEY, @objects or die "node: $!";
    my %got;
    for my $object (@objects) {
        my ($took, $cpu, $kb) = (readline($out) // '') =~ /^sync (\S+) (\S+) (\S+)/
            or die "the peer fails\n";
        $got{$object} = {rate => $counts{$object} / $took, cpu => $cpu / $counts{$object} * 1e6,
            mb => $kb / 1024};
    }
    close $out or die "the peer fails\n";
    return \%got;
}

sub add { my ($to, $from) = @_; push @{$to->{$_}}, $from->{$_} for qw(rate cpu mb); return }
for my $case (['customer', $ENV{BENCH_PEER_CUSTOMERS} // 20_000, 7, 15],
    ['subscription', $ENV{BENCH_PEER_SUBSCRIPTIONS} // 10_000, 10]) {
    my ($object, $n, $first_goal, $again_goal) = @$case;
    my $each = $object eq 'subscription' ? 1 : 0;
    my (%first, %again, %their_first, %their_again);
    for (1 .. $runs) {
        my $rig = unlimited(['--companies', 1, '--customers', $n, '--subscriptions-per-customer', $each]);
        $rig->start('worker');
        my $f = full($rig, $n, sub { $each ? without_invoices($rig) : $rig->connect_stripe;
            $rig->start('scheduler');
            $rig->cmd('run-now', 'stripe') });
        add(\%first, {%$f, mb => most_mb($rig, $rig->pid('worker'))});
        $f = full($rig, $n, sub { $rig->must('run-now', 'stripe') });
        add(\%again, {%$f, mb => most_mb($rig, $rig->pid('worker'))});
        $rig->stop($_) for qw(worker scheduler);
        my %counts = ($object => $n, $each ? (customer => $n) : ());
        add(\%their_first, theirs($rig, %counts)->{$object});
        add(\%their_again, theirs($rig, %counts)->{$object}) unless $each;
        $rig->stop($_, "INT") for qw(postgres redis sim);
    }
    my $ratio = sub {
        my ($name, $goal, $ours, $their) = @_;
        rate("peers.supabase_$name", 'records/s', undef, $their);
        row("peers.${name}_to_supabase", 'ratio', ['>=', $goal],
            map { $ours->{rate}[$_] / $their->{rate}[$_] } 0 .. $runs - 1);
    };
    $ratio->("${object}s_first", $first_goal, \%first, \%their_first);
    $ratio->("${object}s_again", $again_goal, \%again, \%their_again) unless $each;
}
