#!/usr/bin/perl
# Mappings by the command: shown, checked all at once, tried without being written, applied as a
# new version, rolled back.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 12 --list-members 10 --contacts 0 --customers 5)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->sim_hubspot(POST => 'properties/companies', {name => 'rating', type => 'string',
    fieldType => 'text'});
$rig->sim_hubspot(POST => 'properties/companies', {name => 'segment', type => 'enumeration',
    fieldType => 'select', options => [{value => 'smb', label => 'Small business'},
        {value => 'ent', label => 'Enterprise'}]});
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';
$rig->connect_stripe;
is $rig->run_now('stripe'), 0, 'and that of Stripe';

my $shown = $rig->cmd_json('mapping', 'show', 'hubspot');
is $shown->{version}, 1, 'the first version is in force';
is_deeply [sort keys %{$shown->{fields}[0]}], [qw(convert field source type)],
    'a line is field, source, type and conversion';

sub file {
    my ($name, @lines) = @_;
    return $rig->secret_file($name, json->encode({provider => 'hubspot', fields => \@lines}));
}
my @base = @{$shown->{fields}};

# ---- validate ----
my ($code, $out, $err) = $rig->cmd('mapping', 'validate', file('good', @base));
is $code, 0, 'what is shown is valid' or diag $err;
($code, $out, $err) = $rig->cmd('mapping', 'validate', '-o', 'json', file('bad',
    grep({ $_->{field} ne 'name' } @base),
    {field => 'x', source => 'no_such_property', type => 'text'},
    {field => 'arr', source => 'annualrevenue', type => 'number'},
    {field => 'since', source => 'annualrevenue', type => 'date'},
    {field => 'Bad Name', source => 'name'},
    {field => 'y', source => 'name', type => 'nonsense'}));
is $code, 6, 'one with faults is not';
my $said = json->decode($out);
is_deeply [map { $_->{field} } @{$said->{problems}}], ['x', 'arr', 'since', 'Bad Name', 'y', 'name'],
    'and every fault is told at once';
like $err, qr/no property 'no_such_property'/, 'an unknown property';
like $err, qr/fills it already/, 'a field that is filled twice';
like $err, qr/a number, which cannot become a date/, 'types that do not fit';
like $err, qr/a customer needs a name/, 'a required field';
is(($rig->cmd('mapping', 'apply', file('bad2', @base,
    {field => 'x', source => 'no_such_property', type => 'text'})))[0], 2, 'it cannot be applied');
is $rig->cmd_json('mapping', 'show', 'hubspot')->{version}, 1, 'and nothing was';

# ---- dry run ----
my ($first, $second) = map { $_->{record_id} } $rig->rows("select record_id from psync.record
    where object_type = 'company' and in_scope order by 1 limit 2");
$rig->sim_hubspot(PATCH => "companies/$first",
    {properties => {segment => 'ent', rating => '4.50'}});
$rig->sim_hubspot(PATCH => "companies/$second",
    {properties => {segment => 'smb', rating => 'excellent'}});
my $new = file('new', @base,
    {field => 'segment', source => 'segment', type => 'enum', convert => 'label'},
    {field => 'rating', source => 'rating', type => 'number'});
my $before = $rig->value('select md5(string_agg(c::text, chr(10) order by customer_id))
    from psync.customer c');
my $tried = json->decode(($rig->cmd('mapping', 'apply', $new, '--dry-run', '-o', 'json'))[1]);
is $tried->{customers}, 10, 'a dry run looks at every customer';
is $tried->{changed}, 2, 'and counts those that would change';
is $tried->{failed}, 1, 'and those that would fail';
my %names = map { $_->{record_id} => $_->{name} } @{$tried->{changes}};
is_deeply [sort keys %names], [sort $first, $second], 'it names them';
ok length $names{$first}, 'by their names';
is_deeply [map { "$_->{record_id} $_->{field} $_->{error_code}" } @{$tried->{failures}}],
    ["$second rating map_type_mismatch"], 'and says which field would be held back, and why';
is $rig->value('select md5(string_agg(c::text, chr(10) order by customer_id)) from psync.customer c'),
    $before, 'nothing was written';
is $rig->cmd_json('mapping', 'show', 'hubspot')->{version}, 1, 'nor a version';

# ---- apply ----
($code, $out, $err) = $rig->cmd('mapping', 'apply', $new, '--note', 'segments');
is $code, 0, 'it is applied' or diag $err;
like $err, qr/run-now hubspot/, 'and running it for all is offered';
is $rig->value("select note || ' ' || version from psync.mapping order by version desc limit 1"),
    'segments 2', 'as a new version with its note';
is $rig->value("select count(*) from psync.audit where action = 'mapping.apply'"), 1,
    'and an audit row';
for my $time ('', ' again') {
    is(($rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '90s'))[0], 6,
        "a run that holds a field back$time exits by its record errors");
    is $rig->value("select status || ' ' || (objects -> 'company' ->> 'failed') from psync.run
        order by run_id desc limit 1"), 'partial 1', "and is partial$time";
}
ok $rig->value("select last_full_success_at > now() - interval '1 minute'
    from psync.connection where provider = 'hubspot'") eq 't', 'though all pages were read';
is $rig->value("select fields ->> 'segment' || ' ' || (fields ->> 'rating') from psync.customer
    join psync.record_link using (customer_id) where record_id = '$first'"), 'Enterprise 4.50',
    'an option is written by its label, a number digit by digit';
is $rig->value("select fields ->> 'segment' || ' ' || coalesce(fields ->> 'rating', 'none')
    from psync.customer join psync.record_link using (customer_id) where record_id = '$second'"),
    'Small business none', 'the field that does not convert is held back, the other written';
is $rig->value("select error_code || ' ' || error_field from psync.attempt
    where record_id = '$second' and status = 'partial' order by attempt_id desc limit 1"),
    'map_type_mismatch rating', 'with its own error';
is(($rig->cmd('mapping', 'apply', $new))[0], 0, 'applying the same again');
is $rig->cmd_json('mapping', 'show', 'hubspot')->{version}, 2, 'makes no version';

# ---- diff, rollback ----
is_deeply [map { "$_->{change} $_->{field}" } @{$rig->cmd_json('mapping', 'diff', 1, 2)}],
    ['added segment', 'added rating'], 'versions are compared';
is(($rig->cmd('mapping', 'rollback', 1))[0], 0, 'an old version comes back');
my $now = $rig->cmd_json('mapping', 'show', 'hubspot');
is $now->{version}, 3, 'as a new one';
is_deeply $now->{fields}, $shown->{fields}, 'with the old content';
is(($rig->cmd('mapping', 'rollback', 9))[0], 3, 'a version that is not there is not found');
is $rig->cmd_json('mapping', 'show', 'stripe')->{version}, 1, "Stripe's mapping is its own";

done_testing;
