#!/usr/bin/perl
# All programs with nothing to do: their memory (what they share counted once) and their processor time.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rig free_port);
use Psync;
use Time::HiRes qw(sleep time);

use constant SECONDS => 60;

my @programs = qw(webhook-gw scheduler worker admin);
my $rig = rig(sim => ['--companies', 200, '--customers', 120],
    settings => {ADMIN_LISTEN => '127.0.0.1:' . free_port()});
$rig->start(@programs);
$rig->connect_hubspot;
$rig->connect_stripe;
$rig->run_now($_) == 0 or die "the first full sync of $_ does not succeed\n" for qw(hubspot stripe);
Psync::until_true(60, sub { $rig->idle }) or die "the queue is not empty\n";

sub pss_kb {
    my ($pid) = @_;
    open my $f, '<', "/proc/$pid/smaps_rollup" or return 0;
    my ($kb) = map { /^Pss:\s+(\d+)/ ? $1 : () } <$f>;
    return $kb // 0;
}
sub of_all { my ($what) = @_; my $sum = 0; $sum += $what->($rig->pid($_)) for @programs; return $sum }
my $cpu = of_all(sub { $rig->cpu_s($_[0]) });
my $began = time;
sleep SECONDS;
row('idle.cpu_all_programs', '% of a core', ['<=', 0.5],
    100 * (of_all(sub { $rig->cpu_s($_[0]) }) - $cpu) / (time - $began));
row('idle.memory_all_programs', 'MB', ['<=', 40], of_all(sub {
    my $sum = 0; $sum += pss_kb($_) for $_[0], $rig->children_of($_[0]); return $sum / 1024 }));
