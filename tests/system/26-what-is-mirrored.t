#!/usr/bin/perl
# Only the companies of the mirrored list are customers, the log says why another is not, and who
# joins or leaves the list shows at run-now.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 30 --list-members 12 --contacts 40 --customers 0)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';

my @members = @{$rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')};
my %member = map { $_ => 1 } @members;
my ($outside) = grep { !$member{$_} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
is $rig->value('select count(*) from psync_bi.customer'), 12, 'the members are the customers';

sub customer_of {
    my ($record) = @_;
    my ($row) = $rig->rows("select c.* from psync_bi.customer c join psync.record_link l
        using (customer_id) where l.record_id = '$record' and l.object_type = 'company'");
    return $row;
}

sub last_attempt {
    my ($record) = @_;
    my ($row) = $rig->rows("select * from psync_bi.sync_log where record_id = '$record'
        and object_type = 'company' order by attempt_id desc limit 1");
    return $row;
}

# ---- a company outside ----
my $named = $rig->calls_naming('companies', $outside);
$rig->sim_hubspot(PATCH => "companies/$outside", {properties => {name => 'Not ours Ltd'}});
wait_for('a delivery for a company outside has its line in the log', 20,
    sub { last_attempt($outside) });
my $attempt = last_attempt($outside);
is $attempt->{error_code}, 'not_in_mirrored_list', 'which says that it is not in the list';
is $attempt->{status}, 'skipped', 'it was skipped';
is $attempt->{severity}, 'skipped', 'which is no error';
is customer_of($outside), undef, 'it is no customer';
is $rig->value("select count(*) from psync_bi.customer where name = 'Not ours Ltd'"), 0,
    'by no other way either';
is $rig->value("select count(*) from psync_bi.hubspot_company
    where record_id = '$outside' and in_scope"), 0, 'and not mirrored';
my ($code, $out, $err) = $rig->cmd('resync', 'hubspot', 'company', $outside, '--wait');
is $code, 3, 'resync of it ends with 3';
like $out . $err, qr/not in the mirrored list/i, 'and says why';
my ($shown) = grep { $_->{record_id} eq $outside }
    @{$rig->cmd_json('log', 'hubspot', '--code', 'not_in_mirrored_list')};
ok $shown, 'log --code finds it';
is scalar(grep { ($_->{record_id} // '') eq $outside }
        @{$rig->cmd_json('log', 'hubspot', '--errors-only')}), 0, 'log --errors-only does not';

# ---- contacts of a company outside and of one inside ----
my $stranger = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Stranger',
    email => 'stranger@outside.example', associatedcompanyid => $outside},
    associations => {companies => [$outside]}})->{id};
wait_for('nothing is left to do', 20, sub { $rig->idle });
is $rig->value("select count(*) from psync_bi.hubspot_contact
    where record_id = '$stranger' and in_scope"), 0,
    'a contact of a company outside is not mirrored';
my $friend = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Friend',
    email => 'friend@inside.example', associatedcompanyid => $members[0]},
    associations => {companies => [$members[0]]}})->{id};
wait_for('a new contact of a member is', 20, sub {
    $rig->value("select count(*) from psync_bi.hubspot_contact
        where record_id = '$friend' and in_scope");
});

# ---- joining and leaving, without a word from HubSpot ----
my $leaver = $members[3];
$rig->sim_hubspot(POST => 'lists/42/add',
    {ids => [$outside], notify => JSON::PP::false});
$rig->sim_hubspot(POST => 'lists/42/remove',
    {ids => [$leaver], notify => JSON::PP::false});
is $rig->run_now('hubspot'), 0, 'run-now';
is customer_of($outside)->{name}, 'Not ours Ltd', 'who joined is a customer';
is customer_of($outside)->{archived_at}, undef, 'that lives';
isnt customer_of($leaver)->{archived_at}, undef, 'who left is archived';
is $rig->value("select in_scope from psync_bi.hubspot_company where record_id = '$leaver'"),
    'f', 'its row stays, marked';
is $rig->value('select count(*) from psync_bi.customer where archived_at is null'), 12,
    'the others are as they were';
my $contacts = $rig->sim(GET => 'hubspot/1234567/contacts?companies_of=42&ids=1');
is_deeply [sort split /\n/, $rig->value('select record_id from psync_bi.hubspot_contact
    where in_scope and deleted_at is null')], [sort @$contacts],
    'contacts are those of the members';

# ---- and back ----
$rig->sim_hubspot(POST => 'lists/42/add',
    {ids => [$leaver], notify => JSON::PP::false});
is $rig->run_now('hubspot'), 0, 'run-now again';
is customer_of($leaver)->{archived_at}, undef, 'who came back lives again';
is $rig->value("select count(*) from psync.record_link where record_id = '$leaver'"), 1,
    'as the customer that it was';

# ---- with deliveries ----
$rig->sim_hubspot(PATCH => "companies/$outside", {properties => {name => 'Ours Ltd'}});
wait_for('a member is updated by its delivery', 20,
    sub { customer_of($outside)->{name} eq 'Ours Ltd' });
is last_attempt($outside)->{status}, 'succeeded', 'and the log says so';

done_testing;
