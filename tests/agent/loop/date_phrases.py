"""Labelled phrases for `resolve_dates`, all said on Wednesday, 18 March 2026, after 1 May 2026 was spoken of."""

DATED = """
What's the weather today? | today 2026-03-18
Any tables tonight for two? | tonight 2026-03-18
Remind me this evening | this evening 2026-03-18
call Anna tomorrow morning | tomorrow 2026-03-19
TOMORROW please | TOMORROW 2026-03-19
Tomorrow at 5 pm works | Tomorrow 2026-03-19
tomorrow's meeting | tomorrow 2026-03-19
what did yesterday's run cost | yesterday 2026-03-17
the day after tomorrow at noon | the day after tomorrow 2026-03-20
who came the day before yesterday? | the day before yesterday 2026-03-16
Book it for Friday | Friday 2026-03-20
a table on saturday at 8 | saturday 2026-03-21
can you do fri 5pm next to the door? | fri 2026-03-20
back on sat | sat 2026-03-21
by mon at 9 | mon 2026-03-23
next Friday or Saturday | next Friday 2026-03-27 | Saturday 2026-03-28
Friday and Saturday next week | Friday 2026-03-27 | Saturday next week 2026-03-28
Monday to Wednesday next week | Monday to Wednesday next week 2026-03-23 2026-03-25
from Thursday to Friday next week | from Thursday to Friday next week 2026-03-26 2026-03-27
next week Thursday and Friday | next week Thursday 2026-03-26 | Friday 2026-03-27
tomorrow or the day after? | tomorrow 2026-03-19 | the day after 2026-03-20
the 15th of next month | the 15th of next month 2026-04-15
the 1st of the month | the 1st of the month 2026-03-01
Sunday 22nd | Sunday 22nd 2026-03-22
Saturday 9:30 | Saturday 2026-03-21
who called last night? | last night 2026-03-17
send it on Friday at the latest | Friday 2026-03-20
I was wondering if Friday is free | Friday 2026-03-20
on Wednesday | Wednesday 2026-03-25
this Wednesday | this Wednesday 2026-03-18
this Friday at three | this Friday 2026-03-20
this fri | this fri 2026-03-20
this Monday | this Monday 2026-03-23
coming Sunday | coming Sunday 2026-03-22
next Monday | next Monday 2026-03-23
next Friday, please | next Friday 2026-03-27
next sat | next sat 2026-03-28
What did we sell last Friday? | last Friday 2026-03-13
last Monday's notes | last Monday 2026-03-16
last wednesday | last wednesday 2026-03-11
Friday next week | Friday next week 2026-03-27
Tuesday of next week | Tuesday of next week 2026-03-24
next week Thursday | next week Thursday 2026-03-26
next week, on Monday | next week, on Monday 2026-03-23
in 3 days | in 3 days 2026-03-21
in three days' time | in three days' time 2026-03-21
deliver in a week | in a week 2026-03-25
in two weeks | in two weeks 2026-04-01
in a month | in a month 2026-04-18
in 6 months | in 6 months 2026-09-18
in one year | in one year 2027-03-18
10 days from now | 10 days from now 2026-03-28
two weeks from today | two weeks from today 2026-04-01
it broke 4 days ago | 4 days ago 2026-03-14
a week ago | a week ago 2026-03-11
three months ago | three months ago 2025-12-18
2 years ago | 2 years ago 2024-03-18
this week | this week 2026-03-16 2026-03-22
next week | next week 2026-03-23 2026-03-29
last week's orders | last week 2026-03-09 2026-03-15
the week after next | the week after next 2026-03-30 2026-04-05
this weekend | this weekend 2026-03-21 2026-03-22
next weekend | next weekend 2026-03-28 2026-03-29
last weekend | last weekend 2026-03-14 2026-03-15
at the weekend | at the weekend 2026-03-21 2026-03-22
on the weekend | on the weekend 2026-03-21 2026-03-22
this month | this month 2026-03-01 2026-03-31
next month | next month 2026-04-01 2026-04-30
revenue of last month | last month 2026-02-01 2026-02-28
this year | this year 2026-01-01 2026-12-31
next year | next year 2027-01-01 2027-12-31
last year | last year 2025-01-01 2025-12-31
on the 7th | the 7th 2026-04-07
by the 20th, please | the 20th 2026-03-20
the 22nd at 5 pm | the 22nd 2026-03-22
due on the 31st | the 31st 2026-03-31
from the 20th to the 24th | from the 20th to the 24th 2026-03-20 2026-03-24
Friday the 20th | Friday the 20th 2026-03-20
May 3 | May 3 2026-05-03
May 3rd | May 3rd 2026-05-03
may 3rd | may 3rd 2026-05-03
3 May | 3 May 2026-05-03
3rd of May | 3rd of May 2026-05-03
the 3rd of may at 10 | 3rd of may 2026-05-03
on March 20 at 9:30 | March 20 2026-03-20
Apr 5 | Apr 5 2026-04-05
12 Jun 2026 | 12 Jun 2026 2026-06-12
June 12, 2027 | June 12, 2027 2027-06-12
May 3 at 10:00 | May 3 2026-05-03
September 1 | September 1 2026-09-01
Monday, 4 May | Monday, 4 May 2026-05-04
Monday, May 4th, 2026 | Monday, May 4th, 2026 2026-05-04
Monday 4 May | Monday 4 May 2026-05-04
May 3-5 | May 3-5 2026-05-03 2026-05-05
3 to 5 May | 3 to 5 May 2026-05-03 2026-05-05
from May 3 to May 7 | from May 3 to May 7 2026-05-03 2026-05-07
in June | in June 2026-06-01 2026-06-30
in may | in may 2026-05-01 2026-05-31
sales in May 2025 | May 2025 2025-05-01 2025-05-31
next March | next March 2027-03-01 2027-03-31
this June | this June 2026-06-01 2026-06-30
last October | last October 2025-10-01 2025-10-31
end of the month | end of the month 2026-03-31
by the end of next month | the end of next month 2026-04-30
end of May | end of May 2026-05-31
the end of the year | the end of the year 2026-12-31
beginning of next year | beginning of next year 2027-01-01
start of June | start of June 2026-06-01
the first Monday of June | the first Monday of June 2026-06-01
first Monday in June | first Monday in June 2026-06-01
the third Thursday of next month | the third Thursday of next month 2026-04-16
the last Friday of the month | the last Friday of the month 2026-03-27
last Friday of May | last Friday of May 2026-05-29
from Monday to Thursday | from Monday to Thursday 2026-03-23 2026-03-26
from Friday to Monday | from Friday to Monday 2026-03-20 2026-03-23
between Monday and Wednesday | between Monday and Wednesday 2026-03-23 2026-03-25
Tuesday till Thursday | Tuesday till Thursday 2026-03-24 2026-03-26
Monday-Thursday | Monday-Thursday 2026-03-23 2026-03-26
from tomorrow until Sunday | from tomorrow until Sunday 2026-03-19 2026-03-22
from this Saturday till Monday | from this Saturday till Monday 2026-03-21 2026-03-23
Monday or Tuesday | Monday 2026-03-23 | Tuesday 2026-03-24
move it from Friday to Saturday | Friday 2026-03-20 | Saturday 2026-03-21
a week from Friday | a week from Friday 2026-03-27
two days after Christmas Day | two days after Christmas Day 2026-12-27
the day after next Monday | the day after next Monday 2026-03-24
on Christmas Eve | Christmas Eve 2026-12-24
New Year's Day | New Year's Day 2027-01-01
Easter Monday | Easter Monday 2026-04-06
are you open on Good Friday? | Good Friday 2026-04-03
25/3/2026 | 25/3/2026 2026-03-25
3/25/2026 | 3/25/2026 2026-03-25
on 25/3 | 25/3 2026-03-25
by 3/25, please | 3/25 2026-03-25
05.04.2026 | 05.04.2026 2026-04-05
the day after that | the day after that 2026-05-02
the day after, please | the day after 2026-05-02
or the day before that? | the day before that 2026-04-30
the next day | the next day 2026-05-02
and the following day? | the following day 2026-05-02
a week later | a week later 2026-05-08
two days later, same room | two days later 2026-05-03
a month after that | a month after that 2026-06-01
three days earlier | three days earlier 2026-04-28
on 2026-07-01 and a week later | a week later 2026-07-08
arrive Friday and leave two days later | Friday 2026-03-20 | two days later 2026-03-22
Kannst du heute Abend liefern? | heute 2026-03-18
Wie wird das Wetter morgen in Wien? | morgen 2026-03-19
Morgen um 8 bitte | Morgen 2026-03-19
übermorgen um 8 | übermorgen 2026-03-20
was war gestern | gestern 2026-03-17
am Freitag um 10 | Freitag 2026-03-20
diesen Freitag | diesen Freitag 2026-03-20
kommenden Samstag | kommenden Samstag 2026-03-21
nächsten Montag | nächsten Montag 2026-03-23
letzten Freitag | letzten Freitag 2026-03-13
in drei Tagen | in drei Tagen 2026-03-21
in zwei Wochen | in zwei Wochen 2026-04-01
vor einer Woche | vor einer Woche 2026-03-11
nächste Woche | nächste Woche 2026-03-23 2026-03-29
nächste Woche Dienstag | nächste Woche Dienstag 2026-03-24
letzten Monat | letzten Monat 2026-02-01 2026-02-28
am Wochenende | am Wochenende 2026-03-21 2026-03-22
am 3. Mai | 3. Mai 2026-05-03
am 25.3. um 9 | 25.3. 2026-03-25
am 20. um 9 | 20. 2026-03-20
vom 3. bis 5. Mai | 3. bis 5. Mai 2026-05-03 2026-05-05
von Montag bis Donnerstag | von Montag bis Donnerstag 2026-03-23 2026-03-26
im Juni | im Juni 2026-06-01 2026-06-30
Ende des Monats | Ende des Monats 2026-03-31
eine Woche später | eine Woche später 2026-05-08
demain à 9h | demain 2026-03-19
après-demain | après-demain 2026-03-20
aujourd'hui | aujourd'hui 2026-03-18
vendredi à 10 heures | vendredi 2026-03-20
vendredi prochain | vendredi prochain 2026-03-20
dans trois jours | dans trois jours 2026-03-21
il y a deux semaines | il y a deux semaines 2026-03-04
la semaine prochaine | la semaine prochaine 2026-03-23 2026-03-29
le mois dernier | le mois dernier 2026-02-01 2026-02-28
ce week-end | ce week-end 2026-03-21 2026-03-22
le 3 mai | 3 mai 2026-05-03
de lundi à jeudi | de lundi à jeudi 2026-03-23 2026-03-26
mañana a las 9 | mañana 2026-03-19
mañana por la mañana | mañana 2026-03-19
pasado mañana | pasado mañana 2026-03-20
el viernes a las 10 | viernes 2026-03-20
el próximo viernes | el próximo viernes 2026-03-20
el lunes que viene | el lunes que viene 2026-03-23
dentro de tres días | dentro de tres días 2026-03-21
hace una semana | hace una semana 2026-03-11
la semana que viene | la semana que viene 2026-03-23 2026-03-29
el mes pasado | el mes pasado 2026-02-01 2026-02-28
el 3 de mayo | 3 de mayo 2026-05-03
domani alle 9 | domani 2026-03-19
dopodomani | dopodomani 2026-03-20
venerdì alle 10 | venerdì 2026-03-20
venerdì prossimo | venerdì prossimo 2026-03-20
fra tre giorni | fra tre giorni 2026-03-21
una settimana fa | una settimana fa 2026-03-11
la settimana prossima | la settimana prossima 2026-03-23 2026-03-29
il mese scorso | il mese scorso 2026-02-01 2026-02-28
il 3 maggio | 3 maggio 2026-05-03
da lunedì a giovedì | da lunedì a giovedì 2026-03-23 2026-03-26
morgen om 9 uur | morgen 2026-03-19
overmorgen | overmorgen 2026-03-20
vrijdag om 10 uur | vrijdag 2026-03-20
over drie dagen | over drie dagen 2026-03-21
een week geleden | een week geleden 2026-03-11
volgende week dinsdag | volgende week dinsdag 2026-03-24
vorige maand | vorige maand 2026-02-01 2026-02-28
op 3 mei | 3 mei 2026-05-03
van maandag tot donderdag | van maandag tot donderdag 2026-03-23 2026-03-26
"""

UNDATED = """
I may go
May I have the bill?
You may 3 times try again.
She sat on the fence
the cat sat in Marchington
order 12
a second one
the second one, please
March Street
I live in March Street 5
march on, soldiers
Q-2026
mon ami
Bonjour mon ami, ça va ?
Give me 3 of the 7
the 7th floor
on the 2nd floor
for the 3rd time
the 2nd, please
take the 4th of these
ticket OPS-101 is high
A-12 and B-7
parcel 2026031800
invoice INV-2025-03-04-A
it costs 3.50
from 3/4 to full
3/5 of the cake
on 3/5
03/04/2026
24/7 support
at 5 pm
17:00 until 18:30
5-7 people
version 3.5.2
python 3.12
192.168.1.12
call +49 30 1234567
10 000.0 euros
every Monday
open on Mondays
each Friday at noon
any Saturday will do
a Monday would be fine
Black Friday deals
the Sunday Times
Ruby lives at Friday-12
play Yesterday by the Beatles
the USA Today article
He is 3 years old
3 days of rest
for two weeks
within 3 days
the last 7 days
in the last month
over the next week
three times in a week
a week or two
in 3 days or less
on the first Monday of each quarter
Nothing is deployed after Thursday-1
file tomorrow.txt
user@friday.com
https://example.org/today
the day of the week
what day is it
next, add the tax
next one please
last name Mai
her name is April
April Smith called
Augustus and June work here
summer and autumn
an august man
Guten Morgen!
am Morgen
hier ist viel los
Ist hier jemand?
Was kostet die Karte?
jeden Montag
montags
bonne journée et à demain
tous les lundis
le lundi
la boutique est hier
mars et Jupiter
por la mañana
buena mañana
cada lunes
los lunes
ogni lunedì
il lunedì
goedemorgen
elke maandag
de morgen
How many did we sell on Monday?
Did you see the order from the 7th?
We were there on May 3
What was paid in February?
the week of rain
the first week of June
last week of May
2026-03-20
from 2026-03-20 to 2026-03-22
2026-03-20T10:00:00Z
Friday, May 3
February 30
31 June
on 35/3
at the end of the day
the end of the week
the day after the party
next-day delivery
the next day delivery option
nächsten Freitag
in a second
in an hour
second Monday
Friday 27
Saturday 8 people
Monday in two weeks
2 or 3 days ago
half a year ago
the 1st of each month
he sat on sun loungers
the order that arrived Monday
open since Tuesday
the parcel I ordered on Monday
early June
"""
