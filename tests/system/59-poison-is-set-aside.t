#!/usr/bin/perl
# A record that ends its worker each time it is worked on: whoever is in work beside it is not
# taken along, it is set aside with a row in the log, and a person may try it again.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $rig = Psync->new(sim => [qw(--companies 12 --list-members 10 --contacts 0 --customers 8)]);
my @workers = qw(worker worker-2);
$rig->start('webhook-gw', 'scheduler', @workers);
$rig->connect_stripe;
$rig->connect_hubspot;
is($rig->run_now($_), 0, "the first full sync of $_ succeeds") for qw(stripe hubspot);
wait_for('nothing is left to do', 30, sub { $rig->idle });

my @companies = @{$rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')};
my $poison = $companies[3];
my $fault = $rig->fault(provider => 'hubspot', contains => "$poison", times => -1,
    until_released => JSON::PP::true);
$rig->sim_hubspot(PATCH => "companies/$_", {properties => {name => "New $_"},
    notify => JSON::PP::false}) for @companies;
is($rig->deliver_hubspot($rig->hubspot_events(
    map { {objectId => 0 + $_, propertyName => 'name', propertyValue => 'x'} } @companies))
    ->{status}, 200, 'all companies are delivered at once');

# Whoever waits for an answer about that record dies.
sub holder {
    my ($unit) = @{$rig->cmd_json('queue', 'list', '--state', 'leased')} or return;
    my ($pid) = $unit->{worker} =~ /:(\d+)\z/;
    for my $w (@workers) {
        return [$w, $pid] if grep { $_ == $pid } $rig->children_of($rig->pid($w));
    }
    return;
}
my $deaths = 0;
my $deadline = time + 150;
while (time < $deadline && $rig->cmd_json('queue', 'stats')->{buried} == 0) {
    my $who = Psync::until_true(5, sub { $rig->held($fault) > 0 && holder() }) or next;
    kill 'KILL', $who->[1];
    $deaths++;
    # Its parent waits longer each time, as it should; the test need not.
    $rig->stop($who->[0], 'KILL');
    $rig->start($who->[0]);
    Psync::until_true(20, sub { $rig->held($fault) == 0 });
}
is($rig->cmd_json('queue', 'stats')->{buried}, 1, "after $deaths deaths one unit is set aside");
cmp_ok($deaths, '<=', 6, 'and not later');
my ($unit) = @{$rig->cmd_json('queue', 'list', '--state', 'buried')};
is($unit->{id}, $poison, 'the one that did it');
my $others = join ',', map { "'$_'" } grep { $_ ne $poison } @companies;
wait_for('the others, in work beside it, are written', 60, sub {
    $rig->value("select count(*) from psync_bi.hubspot_company where record_id in ($others)"
        . " and raw #>> '{properties,name}' = 'New ' || record_id") == @companies - 1;
});
wait_for('the log says so', 20, sub {
    $rig->value("select count(*) from psync.attempt where error_code = 'poison_job'") > 0;
});
wait_for('and so does the log of the scheduler', 20,
    sub { $rig->log_text('scheduler') =~ /set aside/ });
my ($line, @more) = @{$rig->cmd_json('log', '--errors-only')};
is($line->{record_id}, $poison, 'of that record');
is($line->{error_code}, 'poison_job', 'by its name');
is(scalar(@more), 0, 'and of no other') or diag(explain(\@more));

# The cause is mended, a person tries it again.
$rig->sim(DELETE => "faults/$fault");
my ($code, $out, $err) = $rig->cmd('retry', $line->{attempt_id}, '--wait');
is($code, 0, 'tried again by a person it is written') or diag("$out$err");
is($rig->value("select raw #>> '{properties,name}' from psync_bi.hubspot_company where record_id ="
    . " '$poison'"), "New $poison", 'as it is at the provider');
is($rig->cmd_json('queue', 'stats')->{buried}, 0, 'and set aside no longer');
is($rig->value("select resolved from psync_bi.sync_log where attempt_id = $line->{attempt_id}"),
    't', 'its line in the log is resolved');
done_testing;
