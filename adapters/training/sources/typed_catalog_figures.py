"""Made tools, part four: more formulas, measurements, money and laboratory work. The notation is in `typed.py`."""

from __future__ import annotations

CATALOG = """
@ solids
calc sphere volume | Calculates the volume of a sphere.
 radius: num(1,60,1) | Radius of the sphere
 unit?: enum(cm/m/inches) = cm | Unit of the radius | in {unit}
> What is the volume of a sphere with a radius of {radius}
> Calculate how much space a ball of radius {radius} takes up
~ a radius of {radius}
! How big is this ball?
cone surface area | Surface area of a right circular cone.
 radius: int(1,40) | Radius of the base
 height: int(2,70) | Height of the cone
 include_base?: bool = true | Whether the base counts | including the base // without the base
> Find the surface area of a cone with radius {radius} and height {height}
> A cone is {height} high and its base has radius {radius}; compute its surface
~ radius {radius} and height {height}
! Find the surface area of my cone.
calc trapezoid area | Area of a trapezoid from its parallel sides and its height.
 side_a: int(3,40) | First parallel side
 side_b: int(3,40) | Second parallel side
 height: int(2,30) | Distance between the parallel sides
> Compute the area of a trapezoid whose parallel sides are {side_a} and {side_b} and whose height is {height}
> What is the area of a trapezoid with sides {side_a} and {side_b}, {height} high
~ sides {side_a} and {side_b} and height {height}
compute hypotenuse | Length of the longest side of a right triangle.
 leg1: int(2,90) | First leg
 leg2: int(2,90) | Second leg
 round_to?: int(1,6) = 2 | Digits after the decimal point | rounded to {round_to} digits
> Find the hypotenuse of a right triangle with legs {leg1} and {leg2}
> The legs of a right triangle are {leg1} and {leg2}; how long is the hypotenuse
~ legs {leg1} and {leg2}
! How long is the hypotenuse if one leg is long?
polygon angle sum | Sum of the interior angles of a polygon.
 sides: int(3,20) | Number of sides
> What do the interior angles of a polygon with {sides} sides add up to
> Give me the angle sum of a {sides} sided polygon
~ {sides} sides
! What do the angles of my polygon add up to?
slope of line | Slope of the line through two points.
 x1: int(-20,20) | x of the first point
 y1: int(-20,20) | y of the first point
 x2: int(-20,20) | x of the second point
 y2: int(-20,20) | y of the second point
> Find the slope of the line through ({x1}, {y1}) and ({x2}, {y2})
> What is the slope between the points ({x1}, {y1}) and ({x2}, {y2})
~ ({x1}, {y1}) and ({x2}, {y2})
@ algebra
evaluate polynomial | Value of a polynomial at a point.
 coefficients: [int(-9,9)](2,5) | Coefficients, highest power first
 x: num(-5,10,1) | Where to evaluate it
> Evaluate the polynomial with coefficients {coefficients} at x = {x}
~ coefficients {coefficients} at x = {x}
! Evaluate my polynomial at 3.
find least common multiple | Least common multiple of two whole numbers.
 num1: int(2,200) | First number
 num2: int(2,200) | Second number
> What is the least common multiple of {num1} and {num2}
> Find the LCM of {num1} and {num2}
~ {num1} and {num2}
prime factors | Prime factors of a number.
 number: int(4,5000) | Number to factor
 with_exponents?: bool = false | Give exponents as well | with their exponents // as a plain list
> Factor {number} into primes
> What are the prime factors of {number}
~ {number}
! Factor that number for me.
is prime | Tells whether a number is prime.
 n: int(2,10000) | The number
> Is {n} a prime number
> Check whether {n} is prime
~ {n}
calc percentage | A share of a number.
 percent: pct(1,95) | The percentage
 of: int(10,9000) | The whole
> What is {percent} of {of}
> Calculate {percent} of {of}
~ {percent} of {of}
percent change | Change between two values in percent.
 old_value: int(10,900) | Value before
 new_value: int(10,900) | Value after
> By how many percent did it change from {old_value} to {new_value}
> Compute the percentage change from {old_value} to {new_value}
~ from {old_value} to {new_value}
arithmetic sequence term | The nth term of an arithmetic sequence.
 first: int(-10,50) | First term
 difference: int(1,25) | Common difference
 n: int(3,60) | Which term
> Find term {n} of the arithmetic sequence that starts at {first} with difference {difference}
~ term {n} with start {first} and difference {difference}
power of number | Raises a base to an exponent.
 base: int(2,30) | The base
 exponent: int(2,12) | The exponent
 mod?: int(3,97) | Modulus | modulo {mod}
> What is {base} to the power of {exponent}
> Raise {base} to the power {exponent}
~ {base} to the power of {exponent}
logarithm | Logarithm of a value.
 value: int(2,10000) | The value
 base?: int(2,16) | Base; natural if left out | to base {base}
> Take the logarithm of {value}
> What is the log of {value}
~ {value}
differentiate function | Derivative of a function at a point or as a formula.
 function: poly | Function of x in Python notation
 point?: int(-5,12) | Where to take it | at x = {point}
> Differentiate {function}
> What is the derivative of {function}
~ {function}
convert base | Converts a whole number to another base.
 number: int(5,5000) | Decimal number
 target_base: enum(binary/octal/hexadecimal) | Target base
> Convert {number} to {target_base}
> Write {number} in {target_base}
~ {number} in {target_base}
@ data analysis
calc median | Median of a list of numbers.
 numbers: [int(1,300)](4,8) | The numbers
> What is the median of {numbers}
> Find the median of these values: {numbers}
~ {numbers}
! Find the median of my values.
correlation | Correlation of two series of equal length.
 x: [int(1,60)](4,4) | First series
 y: [int(1,60)](4,4) | Second series
 method?: enum(pearson/spearman/kendall) = pearson | Kind of correlation | using {method}
> Compute the correlation of {x} with {y}
~ {x} with {y}
moving average | Moving average of a series.
 series: [int(1,90)](5,8) | Values in time order
 window: int(2,5) | Values in a window
> Smooth {series} with a moving average over {window} values
> Compute the {window} point moving average of {series}
! Smooth my measurements.
normal probability | Probability that a normal variable is below a value.
 value: num(10,150,1) | Upper bound
 mean: int(20,120) | Mean of the distribution
 std_dev: num(1,20,1) | Standard deviation
> How likely is a value below {value} if the mean is {mean} and the standard deviation {std_dev}
~ below {value} with mean {mean} and standard deviation {std_dev}
sample size | Sample size for a survey.
 margin: rate | Margin of error
 confidence?: enum(90/95/99) = 95 | Confidence level in percent | at {confidence}% confidence
> How many people do I need to ask for a margin of error of {margin}
~ a margin of error of {margin}
draw chart | Draws a chart of labelled values.
 kind: enum(bar/line/pie) | Type of chart
 labels: [pool(country)](3,3) | Labels
 values: [int(1,99)](3,3) | One value for each label
 title?: pool(topic) | Title | titled {title}
> Draw a {kind} chart for {labels} with the values {values}
flip coins | Simulates coin flips.
 flips: int(5,500) | Number of flips
 bias?: num(0.1,0.9,2) = 0.5 | Probability of heads | with a probability of heads of {bias}
> Flip a coin {flips} times
> Simulate {flips} coin flips
~ {flips} flips
@ mechanics
calc momentum | Momentum of a moving body.
 mass: num(1,900,1) | Mass in kilograms
 velocity: num(1,80,1) | Velocity in metres per second
> What is the momentum of an object of {mass} kg moving at {velocity} m/s
> Calculate the momentum for a mass of {mass} kg and a velocity of {velocity} m/s
~ {mass} kg at {velocity} m/s
! What is the momentum of a heavy truck?
potential energy | Gravitational potential energy.
 mass: int(1,500) | Mass in kilograms
 height: int(1,300) | Height in metres
 gravity?: num(1.5,25,2) = 9.81 | Acceleration in m/s^2 | with a gravity of {gravity} m/s^2
> How much potential energy does a mass of {mass} kg have at a height of {height} m
~ {mass} kg at {height} m
projectile range | Horizontal range of a projectile.
 speed: int(5,120) | Launch speed in m/s
 angle: int(10,80) | Launch angle in degrees
 height?: int(1,40) = 0 | Initial height in metres | from a height of {height} m
> How far does a ball fly when thrown at {speed} m/s and {angle} degrees
> Compute the range of a projectile launched at {speed} m/s with an angle of {angle} degrees
~ {speed} m/s at {angle} degrees
! How far does it fly when thrown at 45 degrees?
pressure | Pressure of a force on an area.
 force: int(10,5000) | Force in newtons
 area: num(0.1,20,1) | Area in square metres
> Which pressure does a force of {force} N put on {area} square metres
~ {force} N on {area} square metres
calc density | Density from mass and volume.
 mass: num(1,300,1) | Mass in kilograms
 volume: num(0.1,40,2) | Volume in cubic metres
> Compute the density of something with mass {mass} kg and volume {volume} m3
~ {mass} kg and {volume} m3
work done | Work done by a constant force.
 force: int(5,900) | Force in newtons
 distance: num(1,120,1) | Distance in metres
 angle?: int(5,85,5) = 0 | Angle between them in degrees | at an angle of {angle} degrees
> How much work does a force of {force} N do over {distance} m
~ {force} N over {distance} m
gear ratio | Gear ratio of two wheels.
 driving_teeth: int(8,60) | Teeth of the driving wheel
 driven_teeth: int(8,90) | Teeth of the driven wheel
> What is the gear ratio with {driving_teeth} driving and {driven_teeth} driven teeth
~ {driving_teeth} driving and {driven_teeth} driven teeth
@ electricity
resistors in parallel | Total resistance of resistors in parallel.
 resistances: [int(5,900)](2,5) | Resistances in ohms
> What is the total resistance of {resistances} ohms in parallel
~ {resistances} ohms
power consumption | Electric energy and its cost.
 watts: int(5,3000,5) | Power of the device in watts
 hours: int(1,24) | Hours of use a day
 days?: int(2,365) = 30 | Number of days | for {days} days
 price?: num(0.1,0.6,2) | Price of a kilowatt hour | at {price} a kilowatt hour
> What does a {watts} watt device use if it runs {hours} hours a day
~ {watts} watts and {hours} hours a day
solar output | Yearly output of a solar installation.
 panels: int(2,60) | Number of panels
 location: pool(city) | City
 tilt?: int(5,60,5) = 30 | Tilt in degrees | tilted by {tilt} degrees
> How much energy do {panels} solar panels produce in {location}
> Estimate the solar output of {panels} panels in {location}
~ {panels} panels in {location}
@ waves
wavelength | Wavelength for a frequency.
 frequency: int(20,20000) | Frequency in hertz
 medium?: enum(air/water/vacuum) = air | Medium | in {medium}
> What is the wavelength at {frequency} Hz
~ {frequency} Hz
sound level | Sound level at a distance.
 power: num(0.1,20,1) | Power of the source in watts
 distance: int(1,200) | Distance in metres
> How loud is a source of {power} watts from {distance} m away
~ {power} watts from {distance} m
@ laboratory
calc ph | pH of a solution.
 concentration: num(0.001,0.9,3) | Concentration of H+ in mol/l
 temperature?: int(5,60) = 25 | Temperature in Celsius | at {temperature} degrees
> What is the pH at a concentration of {concentration} mol/l
~ {concentration} mol/l
gas pressure | Pressure of an ideal gas.
 moles: num(0.5,20,1) | Amount of gas in moles
 temperature: int(200,500) | Temperature in kelvin
 volume: int(1,90) | Volume in litres
> What pressure do {moles} moles of gas have at {temperature} K in {volume} litres
~ {moles} moles at {temperature} K in {volume} litres
boiling point | Boiling point of a substance.
 substance: pool(molecule) | Name of the substance
 pressure?: num(0.2,5,1) = 1 | Pressure in atmospheres | at {pressure} atm
 scale?: enum(celsius/fahrenheit/kelvin) = celsius | Scale of the answer | in {scale}
> At which temperature does {substance} boil
> Look up the boiling point of {substance}
~ {substance}
half life decay | Amount left after radioactive decay.
 initial: int(5,900) | Amount at the start in grams
 half_life: num(1,60,1) | Half-life in years
 time: int(2,300) | Time passed in years
> How much of {initial} grams is left after {time} years with a half-life of {half_life} years
~ {initial} grams, {time} years and a half-life of {half_life}
sequence alignment | Compares two DNA sequences.
 first: enum(ACGTAC/TTGACA/GGCATC/CATGCA) | First sequence
 second: enum(ACGTTC/TTGGCA/GGCAAC/CTTGCA) | Second sequence
 mode?: enum(global/local) = global | Kind of alignment | as a {mode} alignment
> Align the sequences {first} and {second}
~ {first} and {second}
protein weight | Molecular weight of a protein.
 protein: enum(hemoglobin/insulin/keratin/myosin/albumin/collagen) | Name of the protein
 unit?: enum(kDa/Da) = kDa | Unit | in {unit}
> How heavy is {protein}
> Look up the molecular weight of {protein}
~ {protein}
@ investing
future value | Value of savings after some years.
 deposit: int(100,90000,100) | Money at the start
 yearly_rate: rate | Yearly interest
 years: int(1,40) | Years
> What will {deposit} dollars be worth after {years} years at {yearly_rate}
> Project the growth of ${deposit} over {years} years at {yearly_rate} a year
~ {deposit} dollars over {years} years at {yearly_rate}
! What will my savings be worth in 10 years?
dividend yield | Dividend yield of a share.
 symbol: pool(ticker) | Ticker symbol
 year?: int(2010,2024) | Year | for {year}
> What is the dividend yield of {symbol}
~ {symbol}
compare stocks | Compares two shares.
 first: pool(ticker) | First ticker symbol
 second: pool(ticker) | Second ticker symbol
 metric?: enum(price/volume/market cap/pe ratio) = price | What to compare | by {metric}
> Compare the shares {first} and {second}
> How does {first} do against {second}
~ {first} and {second}
company revenue | Revenue of a company.
 company: pool(company) | Company
 year: int(2012,2024) | Fiscal year
 quarter?: enum(Q1/Q2/Q3/Q4) | Quarter | in {quarter}
> What was the revenue of {company} in {year}
> Get {company}'s revenue for {year}
~ {company} in {year}
break even | Units to sell until the costs are covered.
 fixed_costs: int(500,90000,100) | Fixed costs
 price: int(20,300) | Price of a unit
 unit_cost: int(2,19) | Cost of a unit
> How many units must I sell at {price} each if one costs {unit_cost} and the fixed costs are {fixed_costs}
~ price {price}, unit cost {unit_cost} and fixed costs {fixed_costs}
salary after tax | Net salary.
 gross: int(20000,180000,500) | Yearly gross salary
 country: pool(country) | Country of residence
 married?: bool = false | Whether married | for a married person // for a single person
> What is left of a salary of {gross} after tax in {country}
> Compute the net pay for {gross} a year in {country}
~ {gross} in {country}
! What is left of my salary after tax?
split bill | Splits a bill between people.
 total: num(10,600,2) | Amount of the bill
 people: int(2,12) | Number of people
 tip?: pct(5,25) | Tip in percent | with a tip of {tip}
> Split a bill of ${total} between {people} people
> How much does each of {people} people pay for a bill of ${total}
~ ${total} between {people} people
! Split the bill between us.
depreciation | Yearly depreciation of an asset.
 cost: int(1000,90000,500) | Purchase price
 salvage: int(100,900,100) | Value at the end
 life: int(2,20) | Useful life in years
> What is the yearly depreciation of a machine that cost {cost}, is worth {salvage} at the end and lasts {life} years
~ cost {cost}, end value {salvage} and {life} years
inflation adjust | What an amount of one year is worth in another.
 amount: int(10,9000) | Amount of money
 from_year: int(1950,2000) | Year of the amount
 to_year: int(2001,2024) | Year to adjust to
 country?: pool(country) | Country | in {country}
> What are {amount} dollars of {from_year} worth in {to_year}
~ {amount} dollars of {from_year} in {to_year}
@ measuring
convert weight | Converts weights.
 amount: num(1,900,1) | The amount
 from_unit: enum(kilograms/pounds/ounces/grams/stone) | Unit it is in
 to_unit: enum(kilograms/pounds/ounces/grams/stone) | Unit to convert into
> Convert {amount} {from_unit} to {to_unit}
> How many {to_unit} are {amount} {from_unit}
~ {amount} {from_unit} to {to_unit}
! Convert 5 pounds for me.
convert area | Converts areas.
 value: num(1,500,1) | The area
 source: enum(acres/hectares/square metres/square feet) | Unit it is in
 target: enum(acres/hectares/square metres/square feet) | Unit wanted
> How much is {value} {source} in {target}
> Convert {value} {source} into {target}
~ {value} {source} in {target}
convert speed | Converts speeds.
 speed: int(1,600) | The speed
 unit_in: enum(kmh/mph/knots) | Unit it is in
 unit_out: enum(kmh/mph/knots) | Unit wanted
 decimals?: int(1,4) = 1 | Digits after the point | to {decimals} decimals
> Change {speed} {unit_in} to {unit_out}
~ {speed} {unit_in} to {unit_out}
travel time | Time for a distance at a speed.
 distance: int(5,2000) | Distance in kilometres
 speed: int(4,300) | Speed in km/h
 stops?: int(1,8) = 0 | Number of stops | with {stops} stops
> How long do {distance} km take at {speed} km/h
> Compute the travel time for {distance} km at {speed} km/h
~ {distance} km at {speed} km/h
bricks needed | Bricks for a wall.
 wall_length: num(1,60,1) | Length in metres
 wall_height: num(0.5,6,1) | Height in metres
 brick_size?: enum(standard/modular/jumbo) = standard | Size of the bricks | with {brick_size} bricks
> How many bricks does a wall of {wall_length} m by {wall_height} m need
~ {wall_length} m by {wall_height} m
concrete volume | Concrete for a slab.
 slab: {length: int(2,40), width: int(2,30), depth: num(0.1,0.9,1)} | Size of the slab in metres
 extra?: pct(5,20) = 10 | Spare material in percent | plus {extra} spare
> How much concrete do I need for a slab with {slab}
~ a slab with {slab}
"""
