#!/usr/bin/perl
# The error types are one table: the command, SQL, the admin API (which the page shows), the
# reference and the manual page say the same of each of them.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use IO::Socket::INET;
use Psync;
use Test::More;

my $root = Psync::root();
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $rig = Psync->new(sim => [qw(--companies 1 --list-members 1 --contacts 0 --customers 1)],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port"});

sub slurp {
    my ($path) = @_;
    open my $f, '<:encoding(UTF-8)', $path or die "'$path': $!";
    local $/;
    return scalar <$f>;
}
my ($head, @rows) = split /\n/, slurp("$root/common/error_types.tsv");
my @columns = split /\t/, $head;
my @types = map { my %row; @row{@columns} = split /\t/, $_, -1; \%row } @rows;
cmp_ok scalar(@types), '>=', 86, scalar(@types) . ' error types';
# What has no banner is written differently in each: empty, or none.
$_->{banner} ||= 'none' for @types;

sub by_code {
    return {map { $_->{code} => {%$_, banner => $_->{banner} || 'none'} } @_};
}
my $wanted = by_code(@types);
is_deeply by_code(@{$rig->cmd_json('explain')}), $wanted, 'the command';
is_deeply by_code($rig->rows('select * from psync_bi.error_reference')), $wanted, 'SQL';
$rig->start('admin');
my ($token) = $rig->must('token', 'create', '--role', 'viewer') =~ /(\S+)/;
my $answer;
wait_for('the admin program answers', 20, sub {
    $answer = $rig->http('GET', "http://127.0.0.1:$port/api/v1/errors",
        headers => {Authorization => "Bearer $token"});
    return $answer->{status} == 200;
});
is_deeply by_code(@{json->decode($answer->{content})->{items}}), $wanted, 'the API';

# Letters and digits alone: pages break lines and have quotes of their own.
sub bare { return $_[0] =~ s/[^A-Za-z0-9]+//gr }
my %text = ('docs/errors.md' => slurp("$root/docs/errors.md"));
my $man = $rig->dir . '/man';
mkdir $man;
$rig->must('reference', 'man', $man);
SKIP: {
    skip 'no man here', 1 unless grep { -x "$_/man" } split /:/, $ENV{PATH};
    my %env = (%ENV, MANWIDTH => 2000, LC_ALL => 'C.UTF-8', MANPAGER => 'cat', MANOPT => '--nh --nj');
    my ($code, $out, $err) = Psync::run_argv(\%env, undef, 'man', '-l', "$man/pivotal-sync-errors.7");
    is $code, 0, 'the manual page' or diag $err;
    $text{'pivotal-sync-errors(7)'} = $out =~ s/.\x08//gr =~ s/\e\[[\d;]*m//gr;
}
for my $where (sort keys %text) {
    my $bare = bare($text{$where});
    my @lost;
    for my $type (@types) {
        push @lost, map { "$type->{code}: $_" } grep { index($bare, bare($type->{$_})) < 0 }
            qw(code title meaning user_action provider_signal);
    }
    is "@lost", '', "$where has the texts of each";
    my @there = $where =~ /^docs/ ? $text{$where} =~ /^### `(\w+)`$/mg : map { $_->{code} } @types;
    is_deeply [sort @there], [sort keys %$wanted], 'and of no other';
}
{
    local $rig->{settings}{ADMIN_PUBLIC_URL} = "http://127.0.0.1:$port";
    my ($link) = $rig->must('explain', 'map_type_mismatch') =~ /^On the page +(\S+)$/m;
    is $link, "http://127.0.0.1:$port/admin/errors#map_type_mismatch", 'explain links to the page';
    is $rig->http('GET', $link =~ s/#.*//r)->{status}, 200, 'which is there';
}
for my $type (@types) {
    my $said = bare($rig->must('explain', $type->{code}));
    is join(' ', grep { index($said, bare($type->{$_})) < 0 } qw(code title meaning user_action
        provider_signal)), '', "explain $type->{code}";
}
done_testing;
