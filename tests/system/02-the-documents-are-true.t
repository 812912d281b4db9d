#!/usr/bin/perl
# Generated documents are those of the source, links lead somewhere, and the compose file names
# programs and settings that exist.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $bin = $ENV{BIN} // "$root/build/bin";
plan skip_all => "no pivotal-sync in $bin" unless -x "$bin/pivotal-sync";
chdir $root or die;
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

sub slurp {
    open my $f, '<', $_[0] or return '';
    local $/;
    return scalar(<$f>) // '';
}

my %reference;
for my $part (qw(settings errors commands)) {
    $reference{$part} = `$bin/pivotal-sync reference $part`;
    ok $reference{$part} eq slurp("docs/$part.md"), "docs/$part.md is what the source says"
        or diag "run `make docs`";
}

my @lost;
for my $file (glob('*.md docs/*.md */DESIGN.md tests/sim/DESIGN.md')) {
    for my $link (slurp($file) =~ /\]\(([^)#:]+?)(?:#[^)]*)?\)/g) {
        push @lost, "$file: $link" unless -e dirname($file) . "/$link";
    }
}
is "@lost", '', 'every link leads to a file';

ok index(slurp('docs/scaling.md'), scalar `tests/tools/scaling-model`) > 0,
    'the table of docs/scaling.md is what the model computes';

my $made_with = slurp('THIRD_PARTY.md');
my $parts = `deploy/sbom $bin/pivotal-sync $bin/pivotal-sync-admin 2>/dev/null`;
for my $component (eval { @{JSON::PP->new->decode($parts)->{components}} }) {
    next unless grep { $_->{name} eq 'direct' && $_->{value} eq 'yes' } @{$component->{properties}};
    next if $component->{name} =~ /^lib(?:a|t|ub)san\d/;    # of `make check`, not of what is installed
    my $name = $component->{name} =~ s/(?:t64)?$//r =~ s/^libhiredis\K.*//r =~ s/^libcurl4\K.*//r;
    like $made_with, qr/\(\Q$name\E\)/, "THIRD_PARTY.md names $component->{name}";
}

my $operations = slurp('docs/operations.md');
my @alerts = slurp('deploy/prometheus/pivotal-sync.rules.yml')
    =~ /- alert: (\w+)\n(?:(?!\s+- alert).*\n)*?\s+runbook: (\S+)/g;
while (my ($alert, $runbook) = splice @alerts, 0, 2) {
    is $runbook, 'docs/operations.md#' . lc $alert, "$alert says where its runbook is";
    like $operations, qr/^#### \Q$alert\E\n(?:.+\n){2}/m, 'and there it is';
}
my @all = slurp('deploy/prometheus/pivotal-sync.rules.yml') =~ /- alert: (\w+)/g;
my @runbooks = $operations =~ /^#### (PivotalSync\w+)/mg;
is "@runbooks", "@all", 'each alert has one, and each runbook an alert';

my %described = map { dirname($_) => 1 } glob('*/DESIGN.md');
my @silent = grep { !$described{$_} } qw(admin cmd common core provider scheduler sql tests webhook-gw worker);
is "@silent", '', 'every folder has its DESIGN.md';
for my $folder (sort keys %described) {
    my $design = slurp("$folder/DESIGN.md");
    my @missing;
    for my $file (glob("$folder/*.c")) {
        my ($name) = $file =~ m{([^/]+)\.c$};
        (my $family = $name) =~ s/_.*//;
        push @missing, "$name.c" unless $design =~ /\b(?:\Q$name\E|\Q$family\E)(?:\b|_)/;
    }
    is "@missing", '', "$folder/DESIGN.md has a word on every file"
        or diag 'one line each is enough';
}

my $compose = slurp('docker-compose.yml');
my $programs = slurp('Makefile');
for my $program ($compose =~ /\[(pivotal-sync[\w-]*)/g) {
    ok $program eq 'pivotal-sync' || $programs =~ /:\Q$program\E\b/, "compose runs a real $program";
}
for my $setting ($compose =~ /PIVOTAL_SYNC_(\w+):/g) {
    (my $name = $setting) =~ s/_FILE$//;
    like $reference{settings}, qr/`$name`/, "compose sets a real $setting";
}

done_testing;
