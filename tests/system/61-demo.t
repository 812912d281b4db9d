#!/usr/bin/perl
# `pivotal-sync up --demo --once`: two simulated accounts are connected, mirrored, changed, and
# the mirror equals them at the end.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $bin = $ENV{BIN} // "$root/build/bin";
for my $program ('', qw(-webhook-gw -scheduler -worker -sim)) {
    plan skip_all => "no pivotal-sync$program in $bin" unless -x "$bin/pivotal-sync$program";
}
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

my $dir = tempdir('psync-demo-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0711, $dir;
my $said = `timeout -s TERM 300 $bin/pivotal-sync up --demo --once --data-dir $dir 2>&1`;
is $? >> 8, 0, 'it ends with 0' or diag $said;
like $said, qr/^after the full syncs: \d{2,} companies, \d{2,} contacts, \d{2,} customers, \d{3,} Stripe objects compared, 0 differences$/m,
    'the full syncs bring everything';
unlike $said, qr/^  stripe .* (is missing|differs|is deleted|is here)/m,
    'webhooks bring every change at Stripe';
like $said, qr/^at the end: .*, 0 differences$/m, 'nothing differs at the end';
like $said, qr/^equal: /m, 'it says so';

my @left = grep { m{\Q$dir\E} && !/ps -eo/ } `ps -eo args`;
is_deeply \@left, [], 'no process is left';

done_testing;
