#!/usr/bin/perl
# Two schedulers at once, the clock set by hand, on both days on which clocks change, in three
# zones: each night fires once; in spring at the first instant that exists, in autumn's doubled
# hour not twice. The short form takes one of the two days of each zone.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Psync;
use Test::More;

# Zone, hour of the night, and when it is due on that day and the next (UTC).
my @cases = (
    ['America/New_York', '02:30', '2027-03-14 07:00', '2027-03-15 06:30', 'spring'],
    ['Europe/Berlin', '02:30', '2027-03-28 01:00', '2027-03-29 00:30', 'spring'],
    ['Australia/Lord_Howe', '01:45', '2027-04-03 15:15', '2027-04-04 15:15', 'autumn'],
    ['Australia/Lord_Howe', '02:15', '2027-10-02 15:30', '2027-10-03 15:15', 'spring'],
    ['Europe/Berlin', '02:30', '2027-10-31 01:30', '2027-11-01 01:30', 'autumn'],
    ['America/New_York', '01:30', '2027-11-07 06:30', '2027-11-08 06:30', 'autumn'],
);
@cases = @cases[0, 2, 4] unless ($ENV{CHAOS} // '') eq '1';
my $rig = Psync->new;
my @schedulers = qw(scheduler scheduler-2);

sub look_at {
    my ($instant) = @_;
    $rig->value("do \$\$ begin execute format('alter database %I set psync.test_now = %L',"
        . " current_database(), ($instant)::text); end \$\$");
    $rig->value('update psync.connection set next_full_at = null');
    $rig->start(@schedulers);
    Psync::until_true(20, sub {
        $rig->value('select count(*) from psync.connection'
            . ' where next_full_at is null and paused_at is null') == 0;
    });
    $rig->stop($_) for @schedulers;
    # Nobody works here: whatever began is over.
    $rig->value("update psync.run set status = 'succeeded', finished_at = now()"
        . ' where finished_at is null');
}

for my $case (@cases) {
    my ($zone, $at, $due, $next, $season) = @$case;
    my $name = "$zone, $season";
    my $id = $rig->value("with w as (insert into psync.workspace (name, tz, nightly_at) values"
        . " ('w' || floor(random() * 1e9), '$zone', '$at') returning workspace_id)"
        . ' insert into psync.connection (workspace_id, provider, mode, account_id, state,'
        . ' last_full_success_at, created_at)'
        . " select workspace_id, 'stripe', 'test', 'acct_' || workspace_id, 'connected', now(),"
        . ' now() from w returning connection_id');
    my $spread = $id * 7919 % 900;
    my $runs = sub {
        $rig->value("select count(*) || ' ' || (select count(*) from psync.occurrence"
            . " where connection_id = $id and kind = 'nightly') from psync.run"
            . " where connection_id = $id and trigger = 'nightly'");
    };
    my $utc = sub { "timestamptz '$_[0]+00' + make_interval(secs => $spread) + interval '$_[1]'" };
    look_at($utc->($due, '-12 hours'));
    is $runs->(), '1 1', "$name: one run for all the nights before";
    look_at($utc->($due, '-1 second'));
    is $runs->(), '1 1', "$name: none before it is due";
    look_at($utc->($due, '0 seconds'));
    is $runs->(), '2 2', "$name: one when it is due";
    look_at($utc->($due, '61 minutes'));
    is $runs->(), '2 2', "$name: none an hour later";
    look_at($utc->($next, '-1 second'));
    is $runs->(), '2 2', "$name: none before the next night";
    look_at($utc->($next, '0 seconds'));
    is $runs->(), '3 3', "$name: one in the next night";
    $rig->value('update psync.connection set paused_at = now()');
}
done_testing;
