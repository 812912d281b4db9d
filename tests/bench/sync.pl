#!/usr/bin/perl
# Full syncs with providers that answer at once and have no limit: what this side can do. The
# simulator, Redis and PostgreSQL share the machine. `cpu` is the worker's; what PostgreSQL and Redis
# use beside it has rows of its own.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rate runs most_mb unlimited full without_invoices);
use Psync;

my %size = (
    customers => $ENV{BENCH_CUSTOMERS} // 50_000,
    subscriptions => $ENV{BENCH_SUBSCRIPTIONS} // 20_000,
    companies => $ENV{BENCH_COMPANIES} // 100_000,
    growth => $ENV{BENCH_GROWTH} // 100_000,    # records of the large account; 1000000 takes an hour
);
my %only = map { $_ => 1 } @ARGV;
sub wanted { return !%only || $only{$_[0]} }

# Each time in a rig of its own: the first sync, then the same again (unless it is not wanted).
sub measure {
    my ($records, $times, $begin, $provider, $again, @sim) = @_;
    my %got;
    for (1 .. $times) {
        my $rig = unlimited(\@sim);
        $rig->start('worker');
        for my $which ('first', $again ? 'again' : ()) {
            my $f = full($rig, $records, sub {
                return $rig->must('run-now', $provider) if $which eq 'again';
                $begin->($rig);
                $rig->start('scheduler');
                $rig->cmd('run-now', $provider);
            });
            push @{$got{$which}{$_}}, $f->{$_} for qw(rate cpu all);
            push @{$got{$which}{mb}}, most_mb($rig, $rig->pid('worker'));
        }
        $rig->stop($_) for qw(worker scheduler);
        $rig->stop('sim', 'KILL');
        $rig->stop_postgres;
        $rig->stop_redis;
    }
    return \%got;
}
sub told {
    my ($name, $got, $goal) = @_;
    rate($name, 'records/s', $goal && ['>=', $goal], $got);
    row("${name}_all_cpu", 'us/record', undef, @{$got->{all}});
    return;
}
sub stripe {
    my ($customers, $each, $times, $again) = @_;
    my $begin = $each ? \&without_invoices : sub { $_[0]->connect_stripe };
    return measure($customers, $times, $begin, 'stripe', $again,
        '--companies', 1, '--customers', $customers, '--subscriptions-per-customer', $each);
}

if (wanted('customers')) {
    my $got = stripe($size{customers}, 0, runs(), 1);
    told('stripe.customers_first', $got->{first}, 20000);
    told('stripe.customers_unchanged', $got->{again}, 40000);
    row('worker.rss_stripe', 'MB', ['<=', 24], @{$got->{again}{mb}});
}

# As many customers are read as subscriptions and not counted.
if (wanted('subscriptions')) {
    my $n = $size{subscriptions};
    my $small = stripe($n, 1, runs(), 1);
    told('stripe.subscriptions_first', $small->{first}, 6000);
    told('stripe.subscriptions_unchanged', $small->{again});
    row('worker.rss_subscriptions', 'MB', ['<=', 24], @{$small->{again}{mb}});
    my $tenfold = 10 * $n > $size{growth} ? $size{growth} : 10 * $n;
    my $large = stripe($tenfold, 1, 1, 0);
    told("stripe.subscriptions_${tenfold}_first", $large->{first});
    my $base = Bench::median(@{$small->{first}{all}});
    row("growth.subscriptions_cost_${tenfold}_to_$n", 'ratio', ['<=', 1.1],
        map { $_ / $base } @{$large->{first}{all}});
}

# The mapping that a connection begins with, and more of the account's own: twenty lines.
sub twenty {
    my ($rig) = @_;
    $rig->connect_hubspot(no_scope => 1);
    my @fields = @{$rig->cmd_json('mapping', 'show', 'hubspot')->{fields}};
    my %has = map { $_->{source} => 1 } @fields;
    my @more = grep { !$has{$_->[0]} } (['website'], ['city'], ['country'], ['phone'],
        ['lifecyclestage', 'enum', 'label'], ['mrr', 'number'], ['arr', 'number'],
        ['renewal_date', 'date'], ['is_key_account', 'bool'], ['tags'], ['plan'],
        ['health_score', 'number'], ['annualrevenue', 'number']);
    push @fields, map { {field => "x_$_->[0]", source => $_->[0], type => $_->[1] // 'text',
        convert => $_->[2] // ''} } @more[0 .. 19 - @fields];
    $rig->must('mapping', 'apply', $rig->secret_file('map',
        json->encode({provider => 'hubspot', fields => \@fields})));
    $rig->must('scope', 'set', 'hubspot', 'list', 42);
    return;
}
if (wanted('companies')) {
    my $n = $size{companies};
    my $got = measure($n, runs(), \&twenty, 'hubspot', 1, '--companies', $n, '--list-members', $n,
        '--contacts', 0, '--customers', 1);
    told('hubspot.companies_first', $got->{first}, 12000);
    told('hubspot.companies_unchanged', $got->{again}, 30000);
    row('worker.rss_hubspot', 'MB', ['<=', 24], @{$got->{again}{mb}});
}

if (wanted('growth')) {
    my %cost;
    for my $n (10_000, $size{growth}) {
        my $got = stripe($n, 0, $n > 10_000 ? 1 : 3, 0);
        rate("growth.customers_$n", 'records/s', undef, $got->{first});
        row("growth.customers_${n}_all_cpu", 'us/record', undef, @{$got->{first}{all}});
        $cost{$n} = Bench::median(@{$got->{first}{all}});
    }
    row("growth.cost_$size{growth}_to_10000_records", 'ratio', ['<=', 1.15],
        $cost{$size{growth}} / $cost{10_000});
}
