#!/usr/bin/perl
# beanstalkd without a log, its jobs put, reserved and deleted a hundred at a time: `put SECONDS`, then
# `work SECONDS`, as queue.c prints them.
# usage: beanstalkd.pl PORT JOBS
use strict;
use warnings;

use IO::Socket::INET;
use Time::HiRes qw(time);

my ($port, $jobs) = @ARGV;
my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
my $body = '{"object":"company","id":"10000000"}' . ' ' x 184;
my $puts = sprintf("put 0 0 60 %d\r\n%s\r\n", length $body, $body) x 100;
$| = 1;

sub lines { return map { scalar readline $server } 1 .. $_[0] }

my $began = time;
for (1 .. $jobs / 100) {
    print {$server} $puts;
    $server->flush;
    lines(100);
}
printf "put %.3f\n", time - $began;
readline STDIN;
$began = time;
for (1 .. $jobs / 100) {
    print {$server} "reserve\r\n" x 100;
    $server->flush;
    my @ids = map { (lines(2))[0] =~ /^RESERVED (\d+)/ or die 'nothing is reserved'; $1 } 1 .. 100;
    print {$server} map { "delete $_\r\n" } @ids;
    $server->flush;
    lines(100);
}
printf "work %.3f\n", time - $began;
