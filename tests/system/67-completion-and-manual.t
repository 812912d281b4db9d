#!/usr/bin/perl
# Completion in the three shells with live values, and the manual pages without a warning: all
# from the one table of commands.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 2 --list-members 2 --contacts 0 --customers 2)]);
my $program = Psync::bin() . '/pivotal-sync';
$rig->connect_stripe;

sub shell {
    my (@argv) = @_;
    my %env = $rig->environment;
    $env{PATH} = Psync::bin() . ":$env{PATH}";
    $env{HOME} = $rig->dir;
    my ($code, $out, $err) = Psync::run_argv(\%env, undef, @argv);
    diag $err if $code != 0 || $err ne '';
    return $out;
}

# Each: what completes a line in that shell, one candidate a line.
my %complete = (
    bash => sub {
        return shell('bash', '--norc', '-c', <<'SH', 'bash', $_[0]);
source <(pivotal-sync completion bash)
complete -p pivotal-sync >/dev/null || exit 1
COMP_LINE=$1 COMP_POINT=${#1}
_pivotal_sync
printf '%s\n' "${COMPREPLY[@]}"
SH
    },
    zsh => sub {
        return shell('zsh', '-f', '-c', <<'SH', 'zsh', $_[0]);
autoload -Uz compinit
compinit -D -u
source <(pivotal-sync completion zsh)
[[ ${_comps[pivotal-sync]} == _pivotal_sync ]] || exit 1
_describe() { print -rl -- "${(@)${(@P)3}%%:[^:\\]*}" }
_files() { print -rl -- *(N) }
words=("${(@s: :)1}")
CURRENT=$#words
_pivotal_sync
SH
    },
    fish => sub {
        return shell('fish', '--no-config', '-c',
            'pivotal-sync completion fish | source; complete -C $argv[1]', $_[0]);
    },
);

for my $shell (qw(bash zsh fish)) {
    my $have = grep { -x "$_/$shell" } split /:/, $ENV{PATH};
    SKIP: {
        skip "no $shell here", 9 unless $have;
        my %seen;
        my $candidates = sub {
            my ($line) = @_;
            return {map { s/:\z//r => 1 } map { (split /\t/)[0] } map { s/\\:/:/gr } split /\n/,
                $complete{$shell}->("pivotal-sync $line")};
        };
        my $c = $candidates->('ru');
        is_deeply [sort keys %$c], [qw(run run-now)], "$shell: commands";
        $c = $candidates->('connection re');
        is_deeply [sort keys %$c], [qw(reauthorize resume)], "$shell: members of a family";
        $c = $candidates->('log --er');
        is_deeply [keys %$c], ['--errors-only'], "$shell: options";
        $c = $candidates->('log --code map_type');
        is_deeply [keys %$c], ['map_type_mismatch'], "$shell: error types";
        $c = $candidates->('run-now ');
        is_deeply [keys %$c], ['stripe'], "$shell: connections, live";
        $c = $candidates->('status -w ac');
        is_deeply [keys %$c], ['acme'], "$shell: workspaces, live";
        $c = $candidates->('queue pause --lane ni');
        is_deeply [keys %$c], ['nightly'], "$shell: lanes";
        $c = $candidates->('completion ');
        is_deeply [sort keys %$c], [qw(bash fish zsh)], "$shell: words of an argument";
        $c = $candidates->('log -o js');
        is_deeply [sort keys %$c], [qw(json jsonl)], "$shell: forms";
    }
}

# What cannot be asked completes without live values, silently and soon.
{
    local $rig->{settings}{DATABASE_URL} = 'postgresql://127.0.0.1:1/none';
    my ($code, $out, $err) = $rig->cmd('complete', '--', 'run-now', '');
    is_deeply [$code, $out, $err], [0, '', ''], 'without PostgreSQL: nothing, silently';
    like(($rig->cmd(qw(complete -- log --code map_ty)))[1], qr/map_type_mismatch/,
        'what needs none is there');
}

# ---- manual pages ----
my $man = $rig->dir . '/man';
mkdir $man;
$rig->must('reference', 'man', $man);
my @pages = glob "$man/*.[1578]";
cmp_ok scalar(@pages), '>', 60, scalar(@pages) . ' manual pages';
my $have_man = grep { -x "$_/man" } split /:/, $ENV{PATH};
SKIP: {
    skip 'no man here', 3 unless $have_man;
    # All in one go, as man has them set; then some by man itself.
    my %env = (%ENV, MANWIDTH => 80, LC_ALL => 'C.UTF-8', MANPAGER => 'cat');
    my ($code, $out, $err) = Psync::run_argv(\%env, undef, 'groff', '-mandoc', '-Tutf8', '-ww',
        '-z', @pages);
    is $err, '', 'no page makes a warning';
    my @some = map { "$man/$_" } qw(pivotal-sync.1 pivotal-sync-run-now.1 pivotal-sync.conf.5
        pivotal-sync-errors.7);
    ($code, $out, $err) = Psync::run_argv(\%env, undef, 'man', '--warnings=w', '-l', @some);
    is "$code $err", '0 ', 'man -l shows them without one';
    $out =~ s/.\x08//g;
    like $out, qr/pivotal-sync run-now hubspot --wait/, 'with examples';
}
my $errors = do { local (@ARGV, $/) = ("$man/pivotal-sync-errors.7"); <> };
my @codes = map { $_->{code} } @{$rig->cmd_json('explain')};
cmp_ok scalar(@codes), '>=', 86, scalar(@codes) . ' error types';
is join(' ', grep { $errors !~ /^\.B \Q$_\E$/m } @codes), '', 'each is in pivotal-sync-errors(7)';
my @commands;
for my $line (split /\n/, $rig->must('complete', '--', '')) {
    my ($word, $text) = split /\t/, $line;
    push @commands, $text eq '...'
        ? map { "$word-" . (split /\t/)[0] } split /\n/, $rig->must('complete', '--', $word, '')
        : $word;
}
cmp_ok scalar(@commands), '>', 60, scalar(@commands) . ' commands';
is join(' ', grep { !-e "$man/pivotal-sync-$_.1" } @commands), '', 'each has its page';

done_testing;
