#!/usr/bin/perl
# `pivotal-sync up --demo` prints a link that signs in to the admin page; tests/browser/demo.mjs
# follows it as a stranger would.
use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin qw($Bin);
use IO::Socket::INET;
use lib "$Bin/lib";
use Psync;
use Test::More;

my $root = Psync::root();
my $bin = $ENV{BIN} // "$root/build/bin";
my $reason = Psync::npm_packages();
plan skip_all => $reason if defined $reason;
my ($chromium) = grep { -x } qw(/usr/bin/chromium /usr/bin/chromium-browser);
plan skip_all => 'Chromium is not installed' unless $chromium;
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_(?!TEST_)/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

my $dir = tempdir('psync-demo-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0711, $dir;
my @free = map { IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') } 1 .. 2;
my ($admin, $hooks) = map { $_->sockport } @free;
@free = ();
my $out = "$dir.out";
my $pid = fork // die "fork: $!";
if ($pid == 0) {
    open STDOUT, '>', $out and open STDERR, '>&', \*STDOUT
        and exec "$bin/pivotal-sync", qw(up --demo --data-dir), $dir, '--admin-listen',
        "127.0.0.1:$admin", '--webhook-listen', "127.0.0.1:$hooks";
    die "up: $!";
}

# It prints the link once both accounts are mirrored.
my $link;
Psync::until_true(300, sub {
    ($link) = (-e $out ? Psync::text_of($out) : '') =~ m{^\s*(http://\S+/\#token=\S+)}m;
});
ok defined $link, 'it prints a link that signs in' or diag Psync::text_of($out);

if (defined $link) {
    my %env = (PATH => $ENV{PATH}, NPM_FOLDER => "$root/build/npm", CHROMIUM => $chromium,
        HOME => $dir, LINK => $link, SHOTS => $ENV{SHOTS} // "$root/build/screenshots");
    Psync::node_script(\%env, 300, "$root/tests/browser/demo.mjs");
}
kill TERM => $pid;
waitpid $pid, 0;
is $?, 0, 'and ends well';
unlink $out;
done_testing();
