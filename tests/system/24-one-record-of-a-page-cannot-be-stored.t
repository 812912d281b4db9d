#!/usr/bin/perl
# A page of a hundred with one record that PostgreSQL refuses (\u0000): the other 99 are written,
# the one has its error row with what the provider answered, and is retried once it is mended.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 100 --list-members 100 --contacts 0),
    qw(--customers 100 --subscriptions-per-customer 0)]);

my $nul = '"a\u0000b"';
my $company = $rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')->[41];
$rig->sim_hubspot(PATCH => "companies/$company",
    {raw => {name => $nul}, notify => JSON::PP::false});
my $customer = $rig->sim_stripe(GET => 'customers?ids=1')->[41];
$rig->sim_stripe(PATCH => "customers/$customer",
    {raw => {name => $nul}, notify => JSON::PP::false});

$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_stripe;
$rig->connect_hubspot;
my @cases = (
    # provider, our type, the simulator's, the record, how it is mended
    ['hubspot', 'company', 'companies', $company,
        sub { $rig->sim_hubspot(PATCH => "companies/$company", {@_}) }],
    ['stripe', 'customer', 'customers', $customer,
        sub { $rig->sim_stripe(PATCH => "customers/$customer", {@_}) }],
);
for my $case (@cases) {
    my ($provider, $type, $path, $id, $patch) = @$case;
    my ($code, $out, $err) = $rig->cmd('run-now', $provider, '--wait', '--timeout', '90s');
    is $code, 6, "$provider: the run ends with record errors"
        or diag "$out$err";
    my ($run) = $rig->rows("select * from psync_bi.run_history where provider = '$provider'
        and kind = 'full' order by run_id desc limit 1");
    is $run->{status}, 'partial', "$provider: it is partial";
    is $run->{failed}, 1, "$provider: with one failure";
    my %mirrored = map { $_ => 1 } split /\n/, $rig->value(
        "select record_id from psync_bi.${provider}_$type where deleted_at is null");
    is scalar(keys %mirrored), 99, "$provider: 99 records are written";
    ok !$mirrored{$id}, "$provider: and that one is not";

    my @errors = $rig->rows("select *, attempt_id::text as id from psync_bi.sync_log
        where provider = '$provider' and severity = 'error' and kind = 'record'
        order by attempt_id desc");
    is scalar(grep({ $_->{record_id} ne $id } @errors)), 0, "$provider: no other record has an error"
        or diag explain \@errors;
    my $error = $errors[0];
    is $error->{error_code}, 'text_not_storable', "$provider: its error row says why";
    is $error->{status}, 'failed', "$provider: it failed";
    is $error->{object_type}, $type, "$provider: the type of the record is in the row";
    is $error->{resolved}, JSON::PP::false, "$provider: it is not resolved";

    my $shown = $rig->cmd_json('show', $error->{id}, '--body');
    is $shown->{attempt_id}, $error->{id}, "$provider: show answers the attempt, its id as text";
    is $shown->{record_id}, $id, "$provider: with the record";
    is_deeply [sort keys %{$shown->{body}}],
        [qw(body headers method redactions status truncated url)],
        "$provider: its body has the members of the contract";
    like $shown->{body}{body}, qr/a\\u0000b/, "$provider: what the provider answered is kept";
    like $shown->{body}{body}, qr/\Q$id\E/, "$provider: of that record";
    unlike $shown->{body}{body}, qr/\Q$_\E/, "$provider: and of no other"
        for grep { $_ ne $id } (sort keys %mirrored)[0 .. 3];
    is $shown->{body}{status}, 200, "$provider: with its status";
    unlike json->encode($shown), qr/pat-na1-|rk_test_/, "$provider: and no token";

    my ($health) = $rig->rows("select * from psync_bi.record_health
        where record_id = '$id' and object_type = '$type'");
    is $health->{state}, 'failing', "$provider: the record is failing";
    is $health->{reason_code}, 'text_not_storable', "$provider: and says why";

    is(($rig->cmd('retry', $error->{id}, '--wait'))[0], 6,
        "$provider: a retry while nothing is mended ends with record errors");
    $patch->(raw => {}, notify => JSON::PP::false);
    is(($rig->cmd('retry', $error->{id}, '--wait'))[0], 0, "$provider: once mended, with 0");
    is $rig->value("select count(*) from psync_bi.${provider}_$type where record_id = '$id'"), 1,
        "$provider: the row is there";
    is $rig->value("select resolved from psync_bi.sync_log where attempt_id = $error->{id}"), 't',
        "$provider: the error is resolved";
    is $rig->value("select state from psync_bi.record_health
        where record_id = '$id' and object_type = '$type'"), 'in_sync',
        "$provider: the record is in sync";
    my ($again, undef, $said) = $rig->cmd('retry', $error->{id});
    is $again, 0, "$provider: a retry of what is resolved is 0";
    like $said, qr/needs no retry/, "$provider: and says so";
    is $rig->run_now($provider), 0, "$provider: the next run is clean";
}
done_testing;
