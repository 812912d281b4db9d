# What the benchmarks share: rows of `make bench`, medians of several runs, what a process used.
package Bench;
use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(row median runs rss_kb absent);

my @rows;

# How often each figure is taken; the median counts.
sub runs { return $ENV{BENCH_RUNS} // 5 }

sub median {
    my @v = sort { $a <=> $b } @_;
    return @v % 2 ? $v[@v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

# One line: name, value, unit, the spread of the runs, and the goal with whether it is met. goal is
# ['>=', number] or ['<=', number], or undef where a figure is only told.
sub row {
    my ($name, $unit, $goal, @values) = @_;
    my $value = median(@values);
    my ($least, $most) = (sort { $a <=> $b } @values)[0, -1];
    my $met = !$goal ? '' : ($goal->[0] eq '>=' ? $value >= $goal->[1] : $value <= $goal->[1])
        ? 'met' : 'MISSED';
    my $form = sub { my $n = shift; return $n >= 100 ? sprintf('%.0f', $n) : sprintf('%.3g', $n) };
    print join("\t", $name, $form->($value), $unit, $form->($least) . '..' . $form->($most),
        $goal ? "$goal->[0] $goal->[1]" : '-', $met), "\n";
    STDOUT->flush;
    return $value;
}

# A peer that is not installed: said, and its ratio left out.
sub absent {
    my ($name, $why) = @_;
    print join("\t", $name, '-', '-', '-', '-', "SKIP $why"), "\n";
    return;
}

# The most memory a process ever held.
sub rss_kb {
    my ($pid) = @_;
    open my $f, '<', "/proc/$pid/status" or return 0;
    while (<$f>) {
        return $1 if /^VmHWM:\s+(\d+)/;
    }
    return 0;
}

1;
